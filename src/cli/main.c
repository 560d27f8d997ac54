/* hearth: finds the subcommand and runs it. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"bench", cli_bench, "speed of a model, and what part of the machine's limits it reaches"},
    {"convert", cli_convert, "make a GGUF file of a checkpoint in safetensors"},
    {"doctor", cli_doctor, "what hearth found on this machine and what it makes of it"},
    {"embed", cli_embed, "the vector of a text"},
    {"eval", cli_eval, "the logits of token ids, for people who debug models"},
    {"imatrix", cli_imatrix, "which weights matter, by a text: for quantize"},
    {"list", cli_list, "the models that serve and run find by name"},
    {"lora", cli_lora, "what is in a LoRA adapter, and a model with some written anew"},
    {"merge", cli_merge, "make one model of several of the same shape"},
    {"plan", cli_plan, "the memory that serving a model would take here"},
    {"perplexity", cli_perplexity, "how well a model foretells a text"},
    {"quantize", cli_quantize, "write a model again with its weights in another type"},
    {"rerank", cli_rerank, "how well documents answer a query"},
    {"replay", cli_replay, "make a recorded answer again and compare"},
    {"run", cli_run, "talk with a model at the terminal, or answer one prompt"},
    {"serve", cli_serve, "serve models over the OpenAI API"},
    {"show", cli_show, "what is in a GGUF file: metadata, tensors, types, chat template"},
    {"template", cli_template, "render a chat template with a JSON context on standard input"},
    {"tokenize", cli_tokenize, "the token ids of a text on standard input"},
    {NULL, NULL, NULL},
};

static void print_help(FILE *out)
{
    fprintf(out, "hearth %s: run language models on this machine and serve them\n\n",
            HEARTH_VERSION);
    fprintf(out, "usage: hearth COMMAND [OPTIONS]\n\n");
    for (const struct command *c = commands; c->name; c++) {
        fprintf(out, "  %-10s %s\n", c->name, c->summary);
    }
    fprintf(out, "\n`hearth COMMAND --help` explains a command.\n");
}

/* What the table of errors says. A wrong command line stands for all that is wrong with input. */
static void print_statuses(FILE *out)
{
    const int usage = err_info(ERR_USAGE)->exit_status;
    fprintf(out, "\nExit status:\n");
    for (int status = 0; status < 64; status++) {
        bool is_first = true;
        for (int code = 0; code < ERR_COUNT; code++) {
            const struct err_info *info = err_info((enum err_code)code);
            if (info->exit_status == status && (is_first || status != usage)) {
                if (is_first) {
                    fprintf(out, "  %2d  %s", status, info->meaning);
                } else {
                    fprintf(out, "; %s", info->meaning);
                }
                is_first = false;
            }
        }
        fprintf(out, "%s", is_first ? "" : "\n");
    }
}

/* A caller may have closed 0, 1 or 2; the next file opened would take that number, and a model
 * would be read as standard input or overwritten by output. */
static void keep_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) < 0) {
            abort(); /* nothing can be said to anybody */
        }
    }
}

int main(int argc, char **argv)
{
    keep_standard_files();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error, not a death */
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("hearth %s\n", HEARTH_VERSION);
        return 0;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        print_statuses(stdout);
        return 0;
    }
    for (const struct command *c = commands; c->name; c++) {
        if (strcmp(c->name, name) == 0) {
            return c->run(argc - 1, argv + 1);
        }
    }
    char quoted[STR_QUOTE_MAX];
    fprintf(stderr, "hearth: unknown command \"%s\"\n\n", str_quote(quoted, str_of(name)));
    print_help(stderr);
    return err_info(ERR_USAGE)->exit_status;
}
