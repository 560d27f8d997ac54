/* Linux: memory limits, processors, huge pages, random bytes. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"

enum { HUGE_PAGE_BYTES = 2 << 20 };

char *os_exe_path(struct err *err)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path);
    if (len < 0 || (size_t)len == sizeof path) {
        err_set_errno(err, len < 0 ? errno : ENAMETOOLONG, "find the path of this program");
        return NULL;
    }
    char *copy = mem_copy(path, (size_t)len);
    if (!copy) {
        err_set_memory(err, (size_t)len + 1);
    }
    return copy;
}

/* A small file of the kernel as text; empty when it cannot be read. */
static struct str read_small(const char *path, char *out, size_t cap)
{
    FILE *file = fopen(path, "re");
    size_t len = file ? fread(out, 1, cap - 1, file) : 0;
    if (file) {
        fclose(file);
    }
    out[len] = 0;
    return (struct str){.ptr = out, .len = len};
}

/* The number in a small file, or `otherwise` ("max" in cgroup files is no number). */
static uint64_t read_number(const char *path, uint64_t otherwise)
{
    char text[64];
    uint64_t value;
    return str_to_u64(str_trim(read_small(path, text, sizeof text)), &value) ? value : otherwise;
}

/* ---- memory ---- */

/* Over-allocates to align by hand: MAP_HUGETLB would need reserved pages, aligned_alloc gives no
 * say over the pages. The unaligned ends are unmapped again. */
void *os_pages_alloc(size_t bytes, struct err *err)
{
    size_t want, total;
    if (!size_align(bytes ? bytes : 1, HUGE_PAGE_BYTES, &want) ||
        !size_add(want, HUGE_PAGE_BYTES, &total)) {
        err_set_memory(err, bytes);
        return NULL;
    }
    char *base = mmap(NULL, total, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        err_set_memory(err, bytes);
        return NULL;
    }
    size_t lead =
        (HUGE_PAGE_BYTES - ((uintptr_t)base & (HUGE_PAGE_BYTES - 1))) & (HUGE_PAGE_BYTES - 1);
    if (lead) {
        munmap(base, lead);
    }
    if (total - lead > want) {
        munmap(base + lead + want, total - lead - want);
    }
    madvise(base + lead, want, MADV_HUGEPAGE); /* advice; a kernel without it still works */
    return base + lead;
}

void os_pages_free(void *pages, size_t bytes)
{
    size_t want;
    if (pages && size_align(bytes ? bytes : 1, HUGE_PAGE_BYTES, &want)) {
        munmap(pages, want);
    }
}

static uint64_t meminfo(const char *field)
{
    char text[4096];
    struct str rest = read_small("/proc/meminfo", text, sizeof text);
    while (rest.len) {
        struct str line = str_cut(&rest, '\n');
        uint64_t kib;
        if (str_eat(&line, str_of(field)) && str_eat(&line, STR(":"))) {
            line = str_trim(line);
            return str_to_u64(str_cut(&line, ' '), &kib) ? kib << 10 : UINT64_MAX;
        }
    }
    return UINT64_MAX;
}

uint64_t os_memory_total(void)
{
    return meminfo("MemTotal");
}

static uint64_t statm_pages(int column)
{
    char text[128];
    struct str rest = read_small("/proc/self/statm", text, sizeof text);
    uint64_t pages = 0;
    for (int i = 0; i <= column; i++) {
        struct str word = str_cut(&rest, ' ');
        if (!str_to_u64(word, &pages)) {
            return 0;
        }
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t os_memory_rss(void)
{
    return statm_pages(1);
}

/* glibc raises both limits with each large block that is freed, up to 32 and 64 MiB, and then keeps
 * that much in each thread's arena; set by hand they stay. */
void os_memory_keep_small(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
#endif
}

void os_memory_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static uint64_t left_of(uint64_t limit, uint64_t used)
{
    return limit == UINT64_MAX ? limit : limit > used ? limit - used : 0;
}

/* The tightest limit on the way from our cgroup to the root; page cache can be given back, so only
 * anonymous memory counts as used. */
static uint64_t cgroup_left(void)
{
    char text[4096], path[5000], stat[8192];
    struct str rest = read_small("/proc/self/cgroup", text, sizeof text);
    uint64_t least = UINT64_MAX;
    while (rest.len) {
        struct str line = str_cut(&rest, '\n');
        if (!str_eat(&line, STR("0::/"))) {
            continue;
        }
        for (;;) {
            snprintf(path, sizeof path, "/sys/fs/cgroup/%.*s/memory.max", STR_ARG(line));
            uint64_t limit = read_number(path, UINT64_MAX), anonymous = 0;
            snprintf(path, sizeof path, "/sys/fs/cgroup/%.*s/memory.stat", STR_ARG(line));
            struct str row = read_small(path, stat, sizeof stat);
            struct str first = str_cut(&row, '\n');
            if (str_eat(&first, STR("anon "))) {
                str_to_u64(first, &anonymous);
            }
            uint64_t left = left_of(limit, anonymous);
            least = left < least ? left : least;
            const char *slash = line.len ? memrchr(line.ptr, '/', line.len) : NULL;
            if (line.len == 0) {
                break;
            }
            line = str_slice(line, 0, slash ? (size_t)(slash - line.ptr) : 0);
        }
    }
    uint64_t old = read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes", UINT64_MAX); /* v1 */
    uint64_t left = left_of(old > (1ull << 60) ? UINT64_MAX : old, os_memory_rss());
    return left < least ? left : least;
}

uint64_t os_memory_available(void)
{
    struct rlimit limit;
    uint64_t least = meminfo("MemAvailable");
    uint64_t group = cgroup_left();
    least = group < least ? group : least;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        uint64_t left = left_of(limit.rlim_cur, statm_pages(0));
        least = left < least ? left : least;
    }
    return least;
}

/* ---- machine ---- */

/* CPUs of our affinity mask, fewer when the cgroup's quota allows less time than that. */
size_t os_cpu_count(void)
{
    cpu_set_t set;
    size_t count = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        count = (size_t)CPU_COUNT(&set);
    } else {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        count = online > 0 ? (size_t)online : 1;
    }
    char text[64];
    struct str quota = str_trim(read_small("/sys/fs/cgroup/cpu.max", text, sizeof text));
    struct str allowed = str_cut(&quota, ' ');
    uint64_t time, period;
    if (str_to_u64(allowed, &time) && str_to_u64(quota, &period) && period > 0) {
        size_t cpus = (size_t)((time + period - 1) / period);
        count = cpus && cpus < count ? cpus : count;
    }
    return size_max(count, 1);
}

/* A core is counted at its first logical CPU: the first number of thread_siblings_list. */
size_t os_cpu_cores(void)
{
    cpu_set_t set;
    size_t cores = 0, logical = os_cpu_count();
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return logical;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &set)) {
            continue;
        }
        char path[128], text[128];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                 cpu);
        struct str list = read_small(path, text, sizeof text);
        size_t digits = 0;
        while (digits < list.len && isdigit((unsigned char)list.ptr[digits])) {
            digits++;
        }
        uint64_t first = (uint64_t)cpu;
        if (digits) {
            str_to_u64(str_slice(list, 0, digits), &first);
        }
        bool first_is_ours = first < CPU_SETSIZE && CPU_ISSET((int)first, &set);
        cores += first == (uint64_t)cpu || !first_is_ours;
    }
    return cores ? size_min(cores, logical) : logical;
}

void os_cpu_name(char out[96])
{
    char text[8192];
    struct str rest = read_small("/proc/cpuinfo", text, sizeof text);
    snprintf(out, 96, "unknown");
    while (rest.len) {
        struct str line = str_cut(&rest, '\n');
        if (str_eat(&line, STR("model name"))) {
            str_cut(&line, ':');
            line = str_trim(line);
            snprintf(out, 96, "%.*s", (int)size_min(line.len, 95), line.ptr);
            return;
        }
    }
}

size_t os_fd_count(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    while (dir && readdir(dir)) {
        count++;
    }
    if (dir) {
        closedir(dir);
    }
    return count > 3 ? count - 3 : 0; /* ".", ".." and the directory itself */
}

void os_random(void *out, size_t len)
{
    char *at = out;
    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            abort();
        }
        at += n;
        len -= (size_t)n;
    }
}

/* Priorities of setpriority are a thread's own on Linux, where 0 is the caller. A refusal (there is
 * none for lowering) would leave it as it is. */
void os_thread_yield_to_others(void)
{
    setpriority(PRIO_PROCESS, 0, 19);
}
