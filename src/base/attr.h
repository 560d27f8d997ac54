/* Compiler attributes, in one place so that the rest of the house stays plain C17. */
#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#define ATTR_PRINTF(fmt_index, arg_index) __attribute__((format(printf, fmt_index, arg_index)))
#define ATTR_MUST_CHECK                   __attribute__((warn_unused_result))
#define ATTR_NORETURN                     __attribute__((noreturn))
#define ATTR_UNUSED                       __attribute__((unused))
#define ATTR_FALLTHROUGH                  __attribute__((fallthrough))
#define ATTR_ALIGNED(bytes)               __attribute__((aligned(bytes)))
#define ATTR_PACKED                       __attribute__((packed))
#define ATTR_ALWAYS_INLINE                __attribute__((always_inline)) inline
#define ATTR_NOINLINE                     __attribute__((noinline))

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
