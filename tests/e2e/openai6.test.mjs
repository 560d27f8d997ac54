// The cases of openai.test.mjs with version 6 of the client, which many programs still pin.
import { registerHooks } from 'node:module';

registerHooks({
  resolve: (name, context, next) => next(name === 'openai' ? 'openai6' : name, context),
});
await import('./openai.test.mjs');
