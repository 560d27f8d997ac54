/* macOS: memory, processors, random bytes. Compiled there, not proved (see README, platforms). */
#include <dirent.h>
#include <mach-o/dyld.h>
#include <mach/mach.h>
#include <malloc/malloc.h>
#include <pthread.h>
#include <pthread/qos.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"

enum { BIG_ALIGN = 2 << 20 };

char *os_exe_path(struct err *err)
{
    char path[4096], resolved[4096];
    uint32_t len = sizeof path;
    if (_NSGetExecutablePath(path, &len) != 0 || !realpath(path, resolved)) {
        err_set(err, ERR_IO, "find the path of this program");
        return NULL;
    }
    char *copy = mem_copy(resolved, strlen(resolved));
    if (!copy) {
        err_set_memory(err, strlen(resolved) + 1);
    }
    return copy;
}

void *os_pages_alloc(size_t bytes, struct err *err)
{
    size_t want, total;
    if (!size_align(bytes ? bytes : 1, BIG_ALIGN, &want) || !size_add(want, BIG_ALIGN, &total)) {
        err_set_memory(err, bytes);
        return NULL;
    }
    char *base = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (base == MAP_FAILED) {
        err_set_memory(err, bytes);
        return NULL;
    }
    size_t lead = (BIG_ALIGN - ((uintptr_t)base & (BIG_ALIGN - 1))) & (BIG_ALIGN - 1);
    if (lead) {
        munmap(base, lead);
    }
    if (total - lead > want) {
        munmap(base + lead + want, total - lead - want);
    }
    return base + lead;
}

void os_pages_free(void *pages, size_t bytes)
{
    size_t want;
    if (pages && size_align(bytes ? bytes : 1, BIG_ALIGN, &want)) {
        munmap(pages, want);
    }
}

static uint64_t sysctl_number(const char *name, uint64_t otherwise)
{
    uint64_t value = 0;
    size_t len = sizeof value;
    return sysctlbyname(name, &value, &len, NULL, 0) == 0 && len <= sizeof value ? value
                                                                                 : otherwise;
}

uint64_t os_memory_total(void)
{
    return sysctl_number("hw.memsize", UINT64_MAX);
}

uint64_t os_memory_rss(void)
{
    struct mach_task_basic_info info;
    mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
    kern_return_t rc =
        task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)&info, &count);
    return rc == KERN_SUCCESS ? info.resident_size : 0;
}

void os_memory_keep_small(void)
{
    /* large blocks are mappings of their own there anyway */
}

void os_memory_trim(void)
{
    malloc_zone_pressure_relief(NULL, 0);
}

uint64_t os_memory_available(void)
{
    vm_statistics64_data_t vm;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    uint64_t least = os_memory_total();
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&vm, &count) ==
        KERN_SUCCESS) {
        uint64_t pages = (uint64_t)vm.free_count + vm.inactive_count + vm.purgeable_count;
        least = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        uint64_t used = os_memory_rss();
        uint64_t left = limit.rlim_cur > used ? limit.rlim_cur - used : 0;
        least = left < least ? left : least;
    }
    return least;
}

size_t os_cpu_count(void)
{
    return (size_t)sysctl_number("hw.logicalcpu", 1);
}

size_t os_cpu_cores(void)
{
    uint64_t fast = sysctl_number("hw.perflevel0.physicalcpu", 0); /* performance cores */
    return (size_t)(fast ? fast : sysctl_number("hw.physicalcpu", 1));
}

void os_cpu_name(char out[96])
{
    size_t len = 95;
    if (sysctlbyname("machdep.cpu.brand_string", out, &len, NULL, 0) != 0) {
        snprintf(out, 96, "unknown");
    } else {
        out[len] = 0;
    }
}

size_t os_fd_count(void)
{
    DIR *dir = opendir("/dev/fd");
    size_t count = 0;
    while (dir && readdir(dir)) {
        count++;
    }
    if (dir) {
        closedir(dir);
    }
    return count > 3 ? count - 3 : 0;
}

void os_random(void *out, size_t len)
{
    arc4random_buf(out, len);
}

void os_thread_yield_to_others(void)
{
    pthread_set_qos_class_self_np(QOS_CLASS_BACKGROUND, 0);
}
