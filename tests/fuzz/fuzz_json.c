/* fuzz_json.c - any bytes as a document, a token and base64
 * Wants  the same document in memory of just its size gives the same; what comes out is well-formed; escaped
 *        text reads back; base64 that decodes, encodes to what decodes to the same. */
#include <stdlib.h>
#define ENSIGN_IMPLEMENTATION
#include "../../ensign.h"

#define WANT(x) do { if (!(x)) abort(); } while (0)

enum { OUT_CAP = 256 };

static void check_members(ensign_slice_t doc)
{
    static const char *const keys[] = { "access_token", "exp", "", "error", "a" };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char out[OUT_CAP], escaped[6 * OUT_CAP], again[6 * OUT_CAP + 8], back[OUT_CAP];
        size_t len = 0, escaped_len, back_len;
        int64_t number = 0;
        int text = ensi_json_string(doc, keys[i], out, sizeof out, &len), value = ensi_json_int(doc, keys[i],
            &number);
        WANT(text == ENSIGN_OK || text == ENSIGN_AGAIN || text == ENSIGN_E_FORMAT
             || text == ENSIGN_E_TOO_LARGE);
        WANT((text == ENSIGN_AGAIN) == (value == ENSIGN_AGAIN)); /* both see the same members */
        WANT(text != ENSIGN_OK || value == ENSIGN_E_FORMAT);     /* a member has one kind */
        if (text != ENSIGN_OK) continue;
        WANT(len < sizeof out && out[len] == '\0');
        WANT(ensi_json_escape(ensi_slice(out, len), escaped, sizeof escaped, &escaped_len) == ENSIGN_OK);
        memcpy(again, "{\"k\":\"", 6);
        memcpy(again + 6, escaped, escaped_len);
        memcpy(again + 6 + escaped_len, "\"}", 2);
        WANT(ensi_json_string(ensi_slice(again, escaped_len + 8), "k", back, sizeof back,
            &back_len) == ENSIGN_OK);
        WANT(back_len == len && memcmp(back, out, len) == 0);
    }
}

static void check_base64(const uint8_t *data, size_t size, bool url)
{
    uint8_t *bytes = (uint8_t *)malloc(size + 1), *back = (uint8_t *)malloc(size + 1);
    char *text = (char *)malloc(2 * size + 4);
    size_t n, m, k;
    WANT(bytes && back && text);
    if (ensi_base64_decode((const char *)data, size, url, bytes, size, &n) == ENSIGN_OK) {
        WANT(n <= size / 4 * 3 + 2);
        WANT(ensi_base64_encode(bytes, n, size % 2 == 0, text, 2 * size + 4, &m) == ENSIGN_OK);
        WANT(ensi_base64_decode(text, m, false, back, n, &k) == ENSIGN_OK);
        WANT(k == n && memcmp(back, bytes, n) == 0);
    }
    free(bytes);
    free(back);
    free(text);
}

/* The input as a payload, so that the fuzzer need not find base64 first. */
static void check_jwt(const uint8_t *data, size_t size)
{
    ensi_jwt_t jwt = { 0, 0, 0 };
    char *token = (char *)malloc(size / 3 * 4 + 8);
    size_t len;
    int rc;
    WANT(token);
    (void)ensi_jwt_read(ensi_slice(data, size), &jwt);
    memcpy(token, "h.", 2);
    WANT(ensi_base64_encode(data, size, false, token + 2, size / 3 * 4 + 5, &len) == ENSIGN_OK);
    for (size_t i = 2; i < len + 2; i++) token[i] = (char)(token[i] == '+' ? '-' : token[i] == '/' ? '_'
        : token[i]);
    token[len + 2] = '.';
    rc = ensi_jwt_read(ensi_slice(token, len + 3), &jwt);
    if (rc == ENSIGN_OK) {
        int64_t exp = 0;
        WANT(ensi_json_int(ensi_slice(data, size), "exp", &exp) != ENSIGN_E_FORMAT);
        WANT(exp == jwt.exp);
    }
    free(token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_members(ensi_slice(data, size));
    check_base64(data, size, false);
    check_base64(data, size, true);
    check_jwt(data, size);
    return 0;
}
