/* cert.c - makes the server's key and its self-signed certificate */
#include "tls.h"
#include "ids.h"
#include <mbedtls/version.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/ecp.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* GeneralNames { dNSName "localhost", iPAddress 127.0.0.1, iPAddress ::1 }: 2.28's writer has no call for
   it. */
static const unsigned char alt_names[] = {
    0x30, 35, 0x82, 9, 'l', 'o', 'c', 'a', 'l', 'h', 'o', 's', 't', 0x87, 4, 127, 0, 0, 1,
    0x87, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
};

typedef struct maker_t {
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_pk_context key;
    mbedtls_x509write_cert cert;
    unsigned char text[4096];
} maker_t;

static void day(char out[16], int64_t from_now_s)
{
    time_t t = (time_t)(wall_ms() / 1000 + from_now_s);
    struct tm utc;
    gmtime_r(&t, &utc);
    strftime(out, 16, "%Y%m%d%H%M%S", &utc);
}

static int set_serial(mbedtls_x509write_cert *cert)
{
    unsigned char raw[16];
    if (!random_bytes(raw, sizeof raw)) return -1;
    raw[0] = (unsigned char)((raw[0] & 0x3f) | 0x40);       /* positive, and always of the same length */
#if MBEDTLS_VERSION_NUMBER >= 0x03040000
    return mbedtls_x509write_crt_set_serial_raw(cert, raw, sizeof raw);
#else
    {
        mbedtls_mpi serial;
        int rc;
        mbedtls_mpi_init(&serial);
        rc = mbedtls_mpi_read_binary(&serial, raw, sizeof raw);
        if (rc == 0) rc = mbedtls_x509write_crt_set_serial(cert, &serial);
        mbedtls_mpi_free(&serial);
        return rc;
    }
#endif
}

static int describe(maker_t *m)
{
    char from[16], to[16];
    int rc;

    day(from, -86400);
    day(to, 86400LL * 3650);
    mbedtls_x509write_crt_set_version(&m->cert, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&m->cert, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&m->cert, &m->key);
    mbedtls_x509write_crt_set_issuer_key(&m->cert, &m->key);
    rc = set_serial(&m->cert);
    if (!rc) rc = mbedtls_x509write_crt_set_subject_name(&m->cert, "CN=localhost,O=ensignd");
    if (!rc) rc = mbedtls_x509write_crt_set_issuer_name(&m->cert, "CN=localhost,O=ensignd");
    if (!rc) rc = mbedtls_x509write_crt_set_validity(&m->cert, from, to);
    if (!rc) rc = mbedtls_x509write_crt_set_basic_constraints(&m->cert, 1, 0);
    if (!rc) rc = mbedtls_x509write_crt_set_subject_key_identifier(&m->cert);
    if (!rc) rc = mbedtls_x509write_crt_set_extension(&m->cert, MBEDTLS_OID_SUBJECT_ALT_NAME,
                                                      MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME), 0,
                                                      alt_names, sizeof alt_names);
    return rc;
}

static int make(maker_t *m, tls_identity_t *id)
{
    int rc = mbedtls_ctr_drbg_seed(&m->random, mbedtls_entropy_func, &m->entropy, NULL, 0);

    if (!rc) rc = mbedtls_pk_setup(&m->key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));
    if (!rc)
        rc = mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(m->key), mbedtls_ctr_drbg_random,
                                 &m->random);
    if (!rc) rc = describe(m);
    if (!rc) rc = mbedtls_pk_write_key_pem(&m->key, m->text, sizeof m->text);
    if (rc) return rc;
    id->key_pem = x_strdup((const char *)m->text);
    rc = mbedtls_x509write_crt_pem(&m->cert, m->text, sizeof m->text, mbedtls_ctr_drbg_random, &m->random);
    if (!rc) id->certificate_pem = x_strdup((const char *)m->text);
    memset(m->text, 0, sizeof m->text);
    return rc;
}

bool tls_identity_make(tls_identity_t *id, why_t *why)
{
    maker_t *m = x_alloc(sizeof *m);
    char text[128];
    int rc;

    memset(id, 0, sizeof *id);
    mbedtls_entropy_init(&m->entropy);
    mbedtls_ctr_drbg_init(&m->random);
    mbedtls_pk_init(&m->key);
    mbedtls_x509write_crt_init(&m->cert);
    rc = make(m, id);
    mbedtls_x509write_crt_free(&m->cert);
    mbedtls_pk_free(&m->key);
    mbedtls_ctr_drbg_free(&m->random);
    mbedtls_entropy_free(&m->entropy);
    free(m);
    if (rc == 0) return true;
    tls_identity_free(id);
    mbedtls_strerror(rc, text, sizeof text);
    return fail(why, "tls: the certificate for localhost could not be made: %s", text);
}

void tls_identity_free(tls_identity_t *id)
{
    free(id->certificate_pem);
    free(id->key_pem);
    memset(id, 0, sizeof *id);
}
