// Shows /openapi.json. Everything is written as text, never as markup.
'use strict';

const make = (tag, attributes = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
};

// "integer, 1 to 128", from a schema of hearth's own.
function valueOf(schema) {
  const types = [schema.type ?? 'see the API'].flat().filter((type) => type !== 'null');
  const range = schema.maximum === undefined ? '' : `, ${schema.minimum} to ${schema.maximum}`;
  return types.join(' or ') + range;
}

function fieldsOf(schema) {
  const rows = Object.entries(schema.properties).map(([name, field]) => {
    const state = field['x-hearth-state'];
    const required = schema.required.includes(name) ? ' (required)' : '';
    return make('tr', { className: state },
      make('td', {}, make('code', { textContent: name }), required),
      make('td', { textContent: state === 'limited' ? 'only its default' : state }),
      make('td', { textContent: state === 'refused' ? '' : valueOf(field) }),
      make('td', { textContent: field.description ?? '' }));
  });
  const head = make('tr', {}, ...['field', 'state', 'value', 'note'].map((text) => make('th', { textContent: text })));
  return make('table', {}, make('thead', {}, head), make('tbody', {}, ...rows));
}

function routeOf(path, method, operation) {
  const schema = operation.requestBody?.content['application/json'].schema;
  const hasFields = schema && Object.keys(schema.properties).length > 0;
  const body = make('div', {});
  if (operation.security?.length === 0) body.append(make('p', { textContent: 'Needs no key.' }));
  if (operation.parameters) {
    body.append(make('p', { textContent: `In the path: ${operation.parameters.map((one) => one.name).join(', ')}` }));
  }
  if (hasFields) body.append(fieldsOf(schema));
  else if (schema) body.append(make('p', { textContent: 'Takes a JSON object.' }));
  if (!body.hasChildNodes()) body.append(make('p', { textContent: 'Takes nothing.' }));
  const words = [path, operation.summary, ...Object.keys(schema?.properties ?? {})].join(' ').toLowerCase();
  const summary = make('summary', {}, make('span', { className: 'method', textContent: method.toUpperCase() }),
    make('code', { textContent: path }), make('span', { className: 'what', textContent: operation.summary }));
  const node = make('details', { id: operation.operationId }, summary, body);
  node.dataset.words = words;
  return node;
}

function show(api) {
  const tags = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      const [tag] = operation.tags;
      if (!tags.has(tag)) tags.set(tag, []);
      tags.get(tag).push(routeOf(path, method, operation));
    }
  }
  document.getElementById('version').textContent = api.info.version;
  document.getElementById('about').textContent = api.info.description;
  document.getElementById('routes').replaceChildren(...[...tags].map(([tag, nodes]) =>
    make('section', {}, make('h2', { textContent: tag }), ...nodes)));
  document.getElementById(location.hash.slice(1))?.setAttribute('open', '');
}

document.getElementById('find').addEventListener('input', ({ target }) => {
  const wanted = target.value.trim().toLowerCase();
  for (const node of document.querySelectorAll('details')) {
    node.hidden = !node.dataset.words.includes(wanted);
  }
  for (const section of document.querySelectorAll('section')) {
    section.hidden = !section.querySelector('details:not([hidden])');
  }
});

fetch('/openapi.json')
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(`HTTP ${answer.status}`))))
  .then(show)
  .catch((error) => document.getElementById('routes').replaceChildren(
    make('p', { className: 'fault', textContent: `openapi.json could not be read: ${error.message}` })));
