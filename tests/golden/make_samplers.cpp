// Records what llama.cpp's samplers do with fixed logits: tests/golden/samplers.json, which
// src/engine/sampler_test.c compares with ours. Build against a built llama.cpp tree:
//
//   g++ -std=c++17 -I$LLAMA/include -I$LLAMA/ggml/include make_samplers.cpp \
//       -L$LLAMA/build/bin -lllama -lggml -lggml-base -Wl,-rpath,$LLAMA/build/bin -o make_samplers
//   ./make_samplers ../data/models/stories260K.gguf COMMIT > samplers.json
//
// Each case: parameters by llama-server's names, the logits it starts from, the history, and the
// candidates that are left with their probabilities (of long lists a part: every 16th id and those
// of the history). The draw is not recorded; it is hearth's own.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "llama.h"

static const llama_vocab *vocab;
static int n_vocab;
static bool first_case = true;

struct params {
    std::string logits = "peaked";
    std::vector<llama_token> history;
    int repeat_last_n = 64;
    float repeat_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
    float dry_multiplier = 0, dry_base = 1.75f;
    int dry_allowed_length = 2, dry_penalty_last_n = 1024;
    std::vector<std::string> breakers;
    float top_n_sigma = -1;
    int top_k = 0;
    float typical_p = 1, top_p = 1, min_p = 0;
    int min_keep = 0;
    bool xtc = false;
    float xtc_threshold = 0.1f;
    float temperature = 1, dynatemp_range = 0, dynatemp_exponent = 1;
    bool mirostat = false;
    float mirostat_tau = 5, mirostat_eta = 0.1f;
};

// Exact in float everywhere: a linear congruential generator and products of small numbers.
static std::vector<float> make_logits(const std::string &kind)
{
    uint32_t x = 12345;
    std::vector<float> out(n_vocab);
    for (int i = 0; i < n_vocab; i++) {
        x = x * 1664525u + 1013904223u;
        float u = (float)(x >> 12) / 1048576.0f; // [0, 1), 20 bits
        if (kind == "flat") {
            out[i] = u * 3.0f - 1.5f;
        } else if (kind == "peaked") {
            out[i] = u * u * u * 14.0f - 6.0f;
        } else { // "sharp": one far ahead
            out[i] = i == 100 ? 20.0f : u * 4.0f - 2.0f;
        }
    }
    return out;
}

static void print_strings(const std::vector<std::string> &v)
{
    printf("[");
    for (size_t i = 0; i < v.size(); i++) {
        printf("%s\"", i ? "," : "");
        for (char c : v[i]) {
            if (c == '\n') {
                printf("\\n");
            } else {
                printf(c == '"' || c == '\\' ? "\\%c" : "%c", c);
            }
        }
        printf("\"");
    }
    printf("]");
}

static void record(const char *name, const params &p)
{
    llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    auto add = [&](llama_sampler *s) { llama_sampler_chain_add(chain, s); };
    std::vector<const char *> breakers;
    for (const auto &b : p.breakers) {
        breakers.push_back(b.c_str());
    }
    add(llama_sampler_init_penalties(p.repeat_last_n, p.repeat_penalty, p.frequency_penalty,
                                     p.presence_penalty));
    add(llama_sampler_init_dry(vocab, 1024, p.dry_multiplier, p.dry_base, p.dry_allowed_length,
                               p.dry_penalty_last_n, breakers.data(), breakers.size()));
    if (p.mirostat) {
        add(llama_sampler_init_temp(p.temperature));
        add(llama_sampler_init_mirostat_v2(1, p.mirostat_tau, p.mirostat_eta));
    } else {
        add(llama_sampler_init_top_n_sigma(p.top_n_sigma));
        add(llama_sampler_init_top_k(p.top_k));
        add(llama_sampler_init_typical(p.typical_p, p.min_keep));
        add(llama_sampler_init_top_p(p.top_p, p.min_keep));
        add(llama_sampler_init_min_p(p.min_p, p.min_keep));
        add(llama_sampler_init_xtc(p.xtc ? 1.0f : 0.0f, p.xtc_threshold, p.min_keep, 1));
        add(llama_sampler_init_temp_ext(p.temperature, p.dynatemp_range, p.dynatemp_exponent));
        add(llama_sampler_init_dist(1));
    }
    for (llama_token t : p.history) {
        llama_sampler_accept(chain, t);
    }
    std::vector<float> logits = make_logits(p.logits);
    std::vector<llama_token_data> data;
    for (int i = 0; i < n_vocab; i++) {
        data.push_back({i, logits[i], 0});
    }
    llama_token_data_array array = {data.data(), data.size(), -1, false};
    llama_sampler_apply(chain, &array);

    printf("%s\n{\"name\":\"%s\",\"logits\":\"%s\",\"history\":[", first_case ? "" : ",", name,
           p.logits.c_str());
    first_case = false;
    for (size_t i = 0; i < p.history.size(); i++) {
        printf("%s%d", i ? "," : "", p.history[i]);
    }
    printf("],\"repeat_last_n\":%d,\"repeat_penalty\":%.9g,\"presence_penalty\":%.9g,"
           "\"frequency_penalty\":%.9g,\n",
           p.repeat_last_n, p.repeat_penalty, p.presence_penalty, p.frequency_penalty);
    printf("\"dry_multiplier\":%.9g,\"dry_base\":%.9g,\"dry_allowed_length\":%d,"
           "\"dry_penalty_last_n\":%d,\"dry_sequence_breakers\":",
           p.dry_multiplier, p.dry_base, p.dry_allowed_length, p.dry_penalty_last_n);
    print_strings(p.breakers);
    printf(",\n\"top_n_sigma\":%.9g,\"top_k\":%d,\"typical_p\":%.9g,\"top_p\":%.9g,\"min_p\":%.9g,"
           "\"min_keep\":%d,\"xtc_probability\":%d,\"xtc_threshold\":%.9g,\n",
           p.top_n_sigma, p.top_k, p.typical_p, p.top_p, p.min_p, p.min_keep, p.xtc ? 1 : 0,
           p.xtc_threshold);
    printf("\"temperature\":%.9g,\"dynatemp_range\":%.9g,\"dynatemp_exponent\":%.9g,"
           "\"mirostat\":%d,\"mirostat_tau\":%.9g,\"mirostat_eta\":%.9g,\n\"candidates\":[",
           p.temperature, p.dynatemp_range, p.dynatemp_exponent, p.mirostat ? 2 : 0, p.mirostat_tau,
           p.mirostat_eta);
    std::vector<llama_token_data> left(array.data, array.data + array.size);
    std::sort(left.begin(), left.end(), [](auto &a, auto &b) { return a.id < b.id; });
    bool first = true;
    size_t count = std::count_if(left.begin(), left.end(), [](auto &c) { return c.p > 0; });
    for (const auto &c : left) {
        bool is_told =
            count <= 64 || c.id % 16 == 0 || std::count(p.history.begin(), p.history.end(), c.id);
        if (c.p > 0 && is_told) {
            printf("%s[%d,%.7g]", first ? "" : ",", c.id, c.p);
            first = false;
        }
    }
    printf("],\"count\":%zu}", count);
    llama_sampler_free(chain);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: make_samplers VOCAB.gguf COMMIT > samplers.json\n");
        return 2;
    }
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_model_params mp = llama_model_default_params();
    mp.vocab_only = true;
    llama_model *model = llama_model_load_from_file(argv[1], mp);
    if (!model) {
        return 1;
    }
    vocab = llama_model_get_vocab(model);
    n_vocab = llama_vocab_n_tokens(vocab);
    printf("{\"source\":\"llama.cpp %s\",\"vocab_count\":%d,\"cases\":[", argv[2], n_vocab);

    for (const char *kind : {"flat", "peaked", "sharp"}) {
        auto with = [&](const char *name, auto set) {
            params p;
            p.logits = kind;
            set(p);
            record(name, p);
        };
        with("top_k", [](params &p) { p.top_k = 40; });
        with("top_k 1", [](params &p) { p.top_k = 1; });
        with("top_k larger than the vocabulary", [](params &p) {
            p.top_k = 100000;
            p.top_p = 0.4f;
        });
        with("top_p", [](params &p) { p.top_p = 0.5f; });
        with("top_p 0", [](params &p) { p.top_p = 0; });
        with("top_p min_keep", [](params &p) {
            p.top_p = 0.01f;
            p.min_keep = 7;
        });
        with("min_p", [](params &p) { p.min_p = 0.2f; });
        with("min_p 1", [](params &p) { p.min_p = 1; });
        with("min_p min_keep", [](params &p) {
            p.min_p = 0.9f;
            p.min_keep = 9;
        });
        with("typical", [](params &p) { p.typical_p = 0.3f; });
        with("typical min_keep", [](params &p) {
            p.typical_p = 0.02f;
            p.min_keep = 5;
        });
        with("top_n_sigma", [](params &p) { p.top_n_sigma = 1.0f; });
        with("top_n_sigma top_k", [](params &p) {
            p.top_n_sigma = 1.5f;
            p.top_k = 30;
        });
        with("xtc", [](params &p) {
            p.xtc = true;
            p.top_k = 8;
            p.xtc_threshold = 0.05f;
        });
        with("xtc min_keep", [](params &p) {
            p.xtc = true;
            p.top_k = 8;
            p.xtc_threshold = 0.05f;
            p.min_keep = 6;
        });
        with("xtc off by threshold", [](params &p) {
            p.xtc = true;
            p.top_k = 8;
            p.xtc_threshold = 0.6f;
        });
        with("temperature", [](params &p) {
            p.temperature = 0.7f;
            p.top_k = 50;
        });
        with("temperature 0", [](params &p) { p.temperature = 0; });
        with("dynatemp", [](params &p) {
            p.temperature = 1;
            p.dynatemp_range = 0.5f;
            p.top_k = 50;
        });
        with("dynatemp exponent", [](params &p) {
            p.temperature = 0.8f;
            p.dynatemp_range = 1.0f;
            p.dynatemp_exponent = 2;
        });
        with("dynatemp behind top_n_sigma", [](params &p) {
            p.top_n_sigma = 1;
            p.temperature = 1;
            p.dynatemp_range = 0.7f;
        });
        with("mirostat", [](params &p) {
            p.mirostat = true;
            p.mirostat_tau = 1.5f;
        });
        with("mirostat temperature", [](params &p) {
            p.mirostat = true;
            p.mirostat_tau = 3;
            p.temperature = 0.6f;
        });
        with("mirostat low tau", [](params &p) {
            p.mirostat = true;
            p.mirostat_tau = 0.01f;
        });
        with("server defaults", [](params &p) {
            p.top_k = 40;
            p.top_p = 0.95f;
            p.min_p = 0.05f;
            p.temperature = 0.8f;
        });
        with("everything", [](params &p) {
            p.history = {5, 9, 100, 9, 5, 9, 100, 37, 5, 9};
            p.repeat_penalty = 1.2f;
            p.frequency_penalty = 0.1f;
            p.presence_penalty = 0.3f;
            p.dry_multiplier = 0.8f;
            p.top_n_sigma = 2;
            p.top_k = 60;
            p.typical_p = 0.95f;
            p.top_p = 0.9f;
            p.min_p = 0.02f;
            p.xtc = true;
            p.xtc_threshold = 0.03f;
            p.temperature = 0.9f;
            p.dynatemp_range = 0.3f;
        });
        with("repeat", [](params &p) {
            p.history = {1, 2, 3, 100, 100, 7};
            p.repeat_penalty = 1.3f;
            p.top_k = 30;
        });
        with("repeat window", [](params &p) {
            p.history = {100, 2, 3, 4, 5, 6, 7};
            p.repeat_last_n = 3;
            p.repeat_penalty = 1.5f;
            p.frequency_penalty = 0.5f;
        });
        with("repeat window 0", [](params &p) {
            p.history = {100, 2, 3};
            p.repeat_last_n = 0;
            p.repeat_penalty = 1.5f;
            p.top_k = 20;
        });
        with("presence frequency", [](params &p) {
            p.history = {100, 100, 100, 4, 4, 6};
            p.presence_penalty = 0.7f;
            p.frequency_penalty = 0.4f;
        });
        with("negative penalties", [](params &p) {
            p.history = {100, 100, 4};
            p.presence_penalty = -1;
            p.frequency_penalty = -0.5f;
            p.repeat_penalty = 0.8f;
        });
    }
    // DRY: repetitions of several lengths, windows, breakers of one token, inside one and over
    // more.
    auto dry = [&](const char *name, std::vector<llama_token> history, auto set) {
        params p;
        p.logits = "flat";
        p.history = history;
        p.dry_multiplier = 0.8f;
        set(p);
        record(name, p);
    };
    auto none = [](params &) {};
    dry("dry abc d abc", {301, 302, 303, 304, 301, 302, 303}, none);
    dry("dry example", {301, 302, 303, 303, 302, 303, 325, 301, 302, 303}, none);
    dry("dry two places", {301, 302, 304, 301, 302, 305, 303, 301, 302, 306, 301, 302}, none);
    dry("dry run of one", {300, 300, 300, 300, 300, 300, 300, 300}, none);
    dry("dry long run", std::vector<llama_token>(300, 300), none);
    dry("dry long run without base", std::vector<llama_token>(200, 300),
        [](params &p) { p.dry_base = 1.0f; });
    dry("dry allowed 4", {301, 302, 303, 304, 301, 302, 303},
        [](params &p) { p.dry_allowed_length = 4; });
    dry("dry allowed 0", {301, 302, 303, 304}, [](params &p) { p.dry_allowed_length = 0; });
    dry("dry window", {301, 302, 303, 304, 9, 9, 301, 302, 303},
        [](params &p) { p.dry_penalty_last_n = 6; });
    dry("dry window exact", {301, 302, 303, 304, 301, 302, 303},
        [](params &p) { p.dry_penalty_last_n = 7; });
    dry("dry short", {301, 302}, none);
    dry("dry base", {301, 302, 303, 304, 301, 302, 303}, [](params &p) {
        p.dry_base = 3.5f;
        p.dry_multiplier = 0.25f;
    });

    auto ids_of = [&](const std::string &s) {
        std::vector<llama_token> ids(s.size() + 8);
        int n = llama_tokenize(vocab, s.c_str(), (int)s.size(), ids.data(), (int)ids.size(), false,
                               false);
        ids.resize(n);
        return ids;
    };
    std::vector<std::string> usual = {"\n", ":", "\"", "*"};
    auto broken = [&](const char *name, const std::string &text,
                      std::vector<std::string> breakers) {
        dry(name, ids_of(text), [&](params &p) { p.breakers = breakers; });
    };
    broken("dry breakers", "Lily said: I want to play. Lily said: I want to", usual);
    broken("dry breaker near the end", "One day, Lily was sad.\nOne day, Lily was", usual);
    broken("dry breaker at the end", "a big dog: a big dog:", usual);
    broken("dry breaker quote", "\"I like you\" said Tom. \"I like you", usual);
    broken("dry breaker word", "the cat and the dog and the cat and", {"the"});
    broken("dry breaker of several tokens", "once upon a time once upon a", {"upon a"});
    broken("dry breaker over tokens", "she was happy and she was happy", {"as ha"});
    // Rests of a breaker are tokenised with a space before them, so these match over a space.
    broken("dry breaker tail", "she was happy and she was happy", {"washappy"});
    broken("dry breaker tail and longer", "she was happy and she was happy", {"she", "shewas"});
    broken("dry breaker tail at the end", "the cat and the dog and the cat and the", {"andthe"});
    broken("dry breaker absent", "she was happy and she was happy", {"zebra", "Q"});
    printf("\n]}\n");
    llama_model_free(model);
    return 0;
}
