// Token ids by llama.cpp: reads texts (u32 length, bytes) from stdin, writes (i32 count, i32 ids).
// usage: judge VOCAB.gguf ADD_SPECIAL PARSE_SPECIAL    (0 or 1; link with libllama)
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "llama.h"

int main(int argc, char **argv)
{
    if (argc != 4) {
        return 2;
    }
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    llama_model *model = llama_model_load_from_file(argv[1], params);
    if (!model) {
        return 1;
    }
    const llama_vocab *vocab = llama_model_get_vocab(model);
    for (uint32_t len; fread(&len, sizeof len, 1, stdin) == 1;) {
        std::string text(len, '\0');
        if (len > 0 && fread(&text[0], 1, len, stdin) != len) {
            return 1;
        }
        std::vector<llama_token> ids(3 * len + 16);
        const int32_t count = llama_tokenize(vocab, text.data(), (int32_t)len, ids.data(),
                                             (int32_t)ids.size(), atoi(argv[2]), atoi(argv[3]));
        fwrite(&count, sizeof count, 1, stdout);
        fwrite(ids.data(), sizeof ids[0], count, stdout);
    }
}
