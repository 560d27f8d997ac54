/* `hearth bench --server URL`: load on a server instead of a model of this process. */
#ifndef CLI_BENCH_SERVER_H
#define CLI_BENCH_SERVER_H

#include <stdbool.h>

bool cli_bench_wants_server(int argc, char **argv);
int cli_bench_server(int argc, char **argv);

#endif
