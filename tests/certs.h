/* certs.h - certificates made at run time, for the tests that need a TLS server of their own
 *
 * P-256 keys and signatures out of one seeded generator, so that a run repeats the last one. For
 * programs that link mbedTLS, 2.28 or 3.6.
 *
 *     certs_t ca, leaf;
 *     certs_make(&ca, NULL, "CN=test CA", NULL, CERTS_FROM, CERTS_TO);
 *     certs_make(&leaf, &ca, "CN=leaf", "localhost,ip:127.0.0.1", CERTS_FROM, CERTS_TO);
 *     ... ca.pem, leaf.pem (both with their NUL), leaf.key ...
 *     certs_free(&leaf);
 *
 * With issuer NULL the certificate signs itself; with names NULL it is a CA, with "" it has no SAN. Anything
 * that fails ends the program: there is nothing to test then. */
#ifndef CERTS_H
#define CERTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <mbedtls/bignum.h>
#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>

/* Far from any day on which the tests run. */
#define CERTS_FROM "20000101000000"
#define CERTS_TO   "20981231235959"
#define CERTS_PAST "20010203040506"
#define CERTS_LATE "20970203040506"

typedef struct {
    char subject[512];
    char pem[4096];
    mbedtls_pk_context key;
} certs_t;

/* splitmix64, in the shape of an mbedTLS generator. For tests alone. */
static int certs_random(void *state, unsigned char *out, size_t len)
{
    uint64_t *s = (uint64_t *)state;

    for (size_t i = 0; i < len; i++) {
        uint64_t z = (*s += UINT64_C(0x9E3779B97F4A7C15));
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        out[i] = (unsigned char)(z >> 56);
    }
    return 0;
}

static void certs_check(int rc, const char *what)
{
    if (rc >= 0) return;
    fprintf(stderr, "certs.h: %s failed: mbedTLS -0x%04X\n", what, (unsigned)-rc);
    exit(1);
}

/* One GeneralName: "ip:1.2.3.4", "ip6:" and 32 hexadecimal digits, an e-mail address with its @, "uri:" and
 * what it is, or a DNS name. */
static size_t certs_name(const char *name, size_t len, unsigned char *out)
{
    enum { EMAIL = 0x81, DNS = 0x82, URI = 0x86, IP = 0x87 };
    unsigned ip[4], byte;

    if (len > 3 && strncmp(name, "ip:", 3) == 0) {
        if (sscanf(name + 3, "%u.%u.%u.%u", &ip[0], &ip[1], &ip[2], &ip[3]) != 4)
            certs_check(-1, "an IPv4 address");
        out[0] = IP;
        out[1] = 4;
        for (size_t i = 0; i < 4; i++) out[2 + i] = (unsigned char)ip[i];
        return 6;
    }
    if (len == 36 && strncmp(name, "ip6:", 4) == 0) {
        out[0] = IP;
        out[1] = 16;
        for (size_t i = 0; i < 16; i++) {
            if (sscanf(name + 4 + 2 * i, "%2x", &byte) != 1) certs_check(-1, "an IPv6 address");
            out[2 + i] = (unsigned char)byte;
        }
        return 18;
    }
    out[0] = memchr(name, '@', len) ? EMAIL : len > 4 && strncmp(name, "uri:", 4) == 0 ? URI : DNS;
    out[1] = (unsigned char)len;
    memcpy(out + 2, name, len);
    return 2 + len;
}

/* subjectAltName, by hand: 2.28 has no writer for it. Short names: every length fits one byte. */
static void certs_names(mbedtls_x509write_cert *crt, const char *names)
{
    enum { SEQUENCE = 0x30, SHORT_MAX = 127 };
    unsigned char der[2 + SHORT_MAX];
    size_t at = 2;

    while (*names) {
        size_t len = strcspn(names, ",");
        if (at + 2 + len > sizeof der) certs_check(-1, "a list of short names");
        at += certs_name(names, len, der + at);
        names += len + (names[len] == ',');
    }
    der[0] = SEQUENCE;
    der[1] = (unsigned char)(at - 2);
    certs_check(mbedtls_x509write_crt_set_extension(crt, MBEDTLS_OID_SUBJECT_ALT_NAME,
                                                    MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME), 0, der,
                                                    at),
                "a SAN");
}

static void certs_serial(mbedtls_x509write_cert *crt, unsigned char number)
{
#if MBEDTLS_VERSION_NUMBER >= 0x03040000
    certs_check(mbedtls_x509write_crt_set_serial_raw(crt, &number, 1), "a serial number");
#else
    mbedtls_mpi serial;
    mbedtls_mpi_init(&serial);
    certs_check(mbedtls_mpi_lset(&serial, number), "a serial number");
    certs_check(mbedtls_x509write_crt_set_serial(crt, &serial), "a serial number");
    mbedtls_mpi_free(&serial);
#endif
}

/* `from` and `to`: YYYYMMDDhhmmss, UTC. */
static void certs_make_with(certs_t *out, certs_t *issuer, const char *subject, const char *names,
                           const char *from, const char *to, mbedtls_md_type_t hash)
{
    static uint64_t seed = 1;
    static unsigned char number = 0;
    mbedtls_x509write_cert crt;

    memset(out, 0, sizeof *out);
    snprintf(out->subject, sizeof out->subject, "%s", subject);
    mbedtls_pk_init(&out->key);
    certs_check(mbedtls_pk_setup(&out->key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)), "a key");
    certs_check(mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(out->key), certs_random, &seed),
                "a P-256 key");

    mbedtls_x509write_crt_init(&crt);
    mbedtls_x509write_crt_set_md_alg(&crt, hash);
    mbedtls_x509write_crt_set_subject_key(&crt, &out->key);
    mbedtls_x509write_crt_set_issuer_key(&crt, issuer ? &issuer->key : &out->key);
    certs_check(mbedtls_x509write_crt_set_subject_name(&crt, subject), "a subject");
    certs_check(mbedtls_x509write_crt_set_issuer_name(&crt, issuer ? issuer->subject : subject), "an issuer");
    certs_check(mbedtls_x509write_crt_set_validity(&crt, from, to), "dates");
    certs_serial(&crt, (unsigned char)(1 + number++ % 127));
    certs_check(mbedtls_x509write_crt_set_basic_constraints(&crt, names == NULL, -1), "basic constraints");
    if (names && names[0]) certs_names(&crt, names);
    certs_check(
        mbedtls_x509write_crt_pem(&crt, (unsigned char *)out->pem, sizeof out->pem, certs_random, &seed),
        "PEM");
    mbedtls_x509write_crt_free(&crt);
}

static void certs_make(certs_t *out, certs_t *issuer, const char *subject, const char *names,
                       const char *from, const char *to)
{
    certs_make_with(out, issuer, subject, names, from, to, MBEDTLS_MD_SHA256);
}

static void certs_free(certs_t *c)
{
    mbedtls_pk_free(&c->key);
}

#endif
