/* What cached pages may be used with: the same model, numbers and program. */
#ifndef ENGINE_IDENTITY_H
#define ENGINE_IDENTITY_H

#include "base/err.h"
#include "engine/engine.h"
#include "gguf/gguf.h"
#include "model/model.h"
#include "tensor/cpu.h"

/* Reads the head of the file and samples of each tensor. See identity.c for what that is worth. */
bool engine_identity(const struct gguf *gguf, const struct model_plan *plan, enum cpu_level level,
                     enum kv_type kv_type, struct engine_digest *out, struct err *err);

/* Of the file alone: the same for every program and setting. */
bool engine_model_digest(const struct gguf *gguf, struct engine_digest *out, struct err *err);

/* The digest of an adapter's whole file. */
bool engine_adapter_identity(const struct gguf *gguf, struct engine_digest *out, struct err *err);

#endif
