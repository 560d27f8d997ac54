/* The pre-tokenizers that are known, as data.
 *
 * A row's stages run one after the other: stage 1 cuts the text at its matches, stage 2 cuts each
 * part that came out (matches and what lies between them alike), and so on. Each part is a text of
 * its own: a lookahead does not see beyond it. That is what the Hugging Face library does for a
 * Sequence of Split (behaviour "isolated"), Digits, Punctuation and ByteLevel.
 *
 * The regexes are those of the models' tokenizer.json; the names are those the llama.cpp converter
 * writes to tokenizer.ggml.pre. Two rewrites keep the time linear and are marked. split.c rewrites
 * \s and \S to Unicode White_Space, which is what the original library means by them. */
#include "text/pretok.h"

#include <stddef.h>
#include <string.h>

const char text_pretok_digits3[] = "@digits3";
const char text_pretok_numbers3[] = "@numbers3";

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES      "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* llama 3 and its kin differ in how many digits make a group */
#define LLAMA3(digits)                                                                             \
    CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES

/* words begin at a change from lower to upper case */
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(suffix, digits)                                                                      \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" suffix "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER  \
    "*" suffix "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES

#define DEEPSEEK3                                                                                  \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"                                        \
    "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES

#define BLOOM " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"

static const struct text_pretok pretoks[] = {
    {.names = "gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 gigachat a.x-4.0 mellum "
              "modern-bert jina-es jina-de jina-v2-es jina-v2-de",
     .stages = {GPT2}},
    {.names = "roberta-bpe jina-v1-en jina-v2-code",
     .stages = {GPT2},
     .flags = TEXT_PRETOK_ADD_SEP},
    {.names = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     .stages = {LLAMA3("\\p{N}{1,3}")},
     .flags = TEXT_PRETOK_WHOLE_WORDS | TEXT_PRETOK_ADD_BOS},
    {.names = "dbrx smaug-bpe chatglm-bpe glm4", .stages = {LLAMA3("\\p{N}{1,3}")}},
    {.names = "qwen2 deepseek-r1-qwen stablelm2 megrez hunyuan solar-open grok-2 kormo f2llmv2",
     .stages = {LLAMA3("\\p{N}")}},
    {.names = "qwen35",
     .stages = {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}"
                            "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES}},
    {.names = "starcoder refact command-r smollm codeshell exaone minerva-7b",
     .stages = {"\\p{N}", GPT2}},
    /* the letters of the second stage are those of Latin, Greek, Cyrillic, Armenian, Georgian ...
     * that have case; "\\s+$" is written so that a run of spaces is looked at once */
    {.names = "deepseek-llm",
     .stages = {"[\\r\\n]",
                "\\s?[A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-"
                "\\x{1bf}\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}"
                "\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}"
                "\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}"
                "\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}"
                "\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}"
                "\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}"
                "\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-"
                "\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}"
                "\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}"
                "\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-"
                "\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}"
                "\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}"
                "\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}"
                "\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}"
                "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}"
                "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-"
                "\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}"
                "\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}]+",
                "\\s?[!-/"
                ":-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
                "(?<!\\s)\\s++\\z", "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+",
                "\\p{N}+"}},
    {.names = "deepseek-coder",
     .stages = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
                "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+", "\\p{N}"}},
    {.names = "deepseek-v3 hunyuan-dense joyai-llm",
     .stages = {"\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
                DEEPSEEK3}},
    {.names = "falcon", .stages = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {.names = "default", /* what llama.cpp does when the file does not say */
     .stages = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {.names = "gpt-4o llama4 kanana2 talkie minimax-m2",
     .stages = {CASED(CONTRACTION "?", "\\p{N}{1,3}")}},
    {.names = "tekken",
     .stages = {CASED("", "\\p{N}")},
     .flags = TEXT_PRETOK_WHOLE_WORDS | TEXT_PRETOK_ADD_BOS},
    {.names = "youtu",
     .stages = {"[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}"
                "\\x{201d}\\x{2018}\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-"
                "\\x{303f}\\x{fe30}-\\x{fe4f}]+|[\\x{3105}-\\x{312f}]+|[\\x{4e00}-\\x{9fa5}"
                "\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
                CASED(CONTRACTION "?", "\\p{N}")},
     .flags = TEXT_PRETOK_WHOLE_WORDS},
    {.names = "bailingmoe bailingmoe2 llada-moe",
     .stages = {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}"
                "| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    {.names = "seed-coder",
     .stages = {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}"
                            "| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES}},
    {.names = "afmoe",
     .stages = {text_pretok_digits3,
                "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{8c48}-\\x{faff}\\x{3040}-"
                "\\x{309f}\\x{30a0}-\\x{30ff}\\x{ff65}-\\x{ff9f}\\x{2f00}-\\x{2fdf}\\x{e40}-"
                "\\x{e7f}\\x{e80}-\\x{eff}\\x{1780}-\\x{17ff}\\x{1000}-\\x{109f}\\x{aa60}-"
                "\\x{aa7f}\\x{a9e0}-\\x{a9ff}\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+",
                DEEPSEEK3}},
    /* the lookbehind is ours: inside a long run that holds no line end, do not look for one again
     * at each of its 512-character parts */
    {.names = "jais-2",
     .stages = {CONTRACTION
                "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
                "|(?<![\\t ])\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)"
                "|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)"
                "|\\s{1,2}(?!\\S)|\\s{1}"}},
    /* a run of letters with single spaces between is one word; written so that it is looked at once
     */
    {.names = "exaone-moe",
     .stages = {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}\\p{M}*+(?: ?\\p{L}\\p{M}*+)*+|\\p{N}"
                            "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}},
    /* numbers3 stands for "\\d{1,3}(?=(?:\\d{3})*\\b)", digits3 for "\\p{N}+" and then
     * "(?=(\\d{3})+(?!\\d))": as they are each group looks through the rest of its run again */
    {.names = "tiny_aya", .stages = {text_pretok_numbers3, CASED(CONTRACTION "?", "\\p{N}{1,3}")}},
    {.names = "superbpe", .stages = {text_pretok_digits3}},
    {.names = "kimi-k2",
     .stages = {"\\p{Han}+|[^\\r\\n\\p{L}\\p{N}]?(?:(?!\\p{Han})" UPPER ")*(?:(?!\\p{Han})" LOWER
                ")+" CONTRACTION "?|[^\\r\\n\\p{L}\\p{N}]?(?:(?!\\p{Han})" UPPER
                ")+(?:(?!\\p{Han})" LOWER ")*" CONTRACTION
                "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES}},
    {.names = "poro-chat bloom gpt3-finnish", .stages = {BLOOM}},
    {.names = "viking", .stages = {BLOOM, "\\p{N}"}},
    {.names = "chameleon",
     .stages = {"<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", "\\p{N}",
                "[\\p{P}!-/:-@\\[-`{-~]", GPT2},
     .flags = TEXT_PRETOK_ADD_BOS},
};

const struct text_pretok *text_pretok_find(struct str name)
{
    for (size_t i = 0; i < sizeof pretoks / sizeof *pretoks; i++) {
        struct str rest = str_of(pretoks[i].names);
        while (rest.len > 0) {
            if (str_eq(str_cut(&rest, ' '), name)) {
                return &pretoks[i];
            }
        }
    }
    return NULL;
}

void text_pretok_list(struct buf *out)
{
    for (size_t i = 0; i < sizeof pretoks / sizeof *pretoks; i++) {
        struct str rest = str_of(pretoks[i].names);
        while (rest.len > 0) {
            buf_add_text(out, out->len > 0 ? ", " : "");
            buf_add(out, str_cut(&rest, ' '));
        }
    }
}
