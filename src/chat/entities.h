/* The named character references of HTML5 ("amp;" and, where HTML allows it, "amp"), sorted by name
 * in byte order. Read-only. */
#ifndef CHAT_ENTITIES_H
#define CHAT_ENTITIES_H

#include <stddef.h>

struct chat_entity {
    const char *name; /* without the '&' */
    const char *text; /* UTF-8 */
};

extern const struct chat_entity chat_entities[];
extern const size_t chat_entities_count;

#endif
