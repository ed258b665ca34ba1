#include "text/tokenizer_sp.h"

#include "base/array.h"

#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <sentencepiece_processor.h>
#include <string_view>
#include <vector>

struct sp {
    sentencepiece::SentencePieceProcessor processor;
};

static std::string_view view(struct slice s)
{
    return {s.data, s.size};
}

/* To be called while an exception is handled: what it was, as an error. */
static int caught(struct err *reterr)
{
    try {
        throw;
    } catch (const std::bad_alloc &) {
        return err_sys(reterr, -ENOMEM, "libsentencepiece");
    } catch (const std::exception &e) {
        return err_set(reterr, ERR_MODEL, "libsentencepiece: %s", e.what());
    } catch (...) {
        return err_set(reterr, ERR_MODEL, "libsentencepiece: unknown exception");
    }
}

static int failed(const sentencepiece::util::Status &status, struct err *reterr)
{
    return err_set(reterr, ERR_MODEL, "libsentencepiece: %s", status.ToString().c_str());
}

int sp_load(struct slice file, struct sp **ret, struct err *reterr)
try {
    auto sp = std::make_unique<struct sp>();
    auto status = sp->processor.LoadFromSerializedProto(view(file));
    if (!status.ok())
        return failed(status, reterr);
    *ret = sp.release();
    return 0;
} catch (...) {
    return caught(reterr);
}

void sp_free(struct sp *sp)
{
    delete sp;
}

int sp_encode(const struct sp *sp, struct slice text, int32_t **ids, size_t *cap, size_t *n,
              struct err *reterr)
try {
    std::vector<int> out;
    auto status = sp->processor.Encode(view(text), &out);
    if (!status.ok())
        return failed(status, reterr);
    if (out.empty())
        return 0;
    int rc = array_grow(ids, cap, *n + out.size());
    if (rc != 0)
        return err_sys(reterr, rc, "%zu tokens", out.size());
    static_assert(sizeof(int) == sizeof(int32_t));
    memcpy(*ids + *n, out.data(), out.size() * sizeof(int32_t));
    *n += out.size();
    return 0;
} catch (...) {
    return caught(reterr);
}

int32_t sp_n_pieces(const struct sp *sp)
{
    return sp->processor.GetPieceSize();
}

int32_t sp_id(const struct sp *sp, struct slice piece)
{
    /* The library answers with unk for what it does not have. */
    int id = sp->processor.PieceToId(view(piece));
    return id >= 0 && id < sp_n_pieces(sp) && sp->processor.IdToPiece(id) == view(piece) ? id : -1;
}

struct slice sp_piece(const struct sp *sp, int32_t id)
{
    const std::string &piece = sp->processor.IdToPiece(id);
    return {piece.data(), piece.size()};
}

float sp_score(const struct sp *sp, int32_t id)
{
    return sp->processor.GetScore(id);
}

int32_t sp_bos(const struct sp *sp)
{
    return sp->processor.bos_id();
}

int32_t sp_eos(const struct sp *sp)
{
    return sp->processor.eos_id();
}

int32_t sp_pad(const struct sp *sp)
{
    return sp->processor.pad_id();
}

int32_t sp_unk(const struct sp *sp)
{
    return sp->processor.unk_id();
}
