/* keys.h - keys and certificates as openssl writes them, some of them encrypted, some of kinds that mbedTLS
 * lacks; its own writer makes neither. They are of no use but for tests. */
#ifndef KEYS_H
#define KEYS_H

/* openssl req -x509, of the key below */
static const char ec_cert[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBejCCAR+gAwIBAgIUJJh3WheY01la2SokKAoeB7BGsqswCgYIKoZIzj0EAwIw\n"
    "ETEPMA0GA1UEAwwGY2xpZW50MCAXDTI2MTEzMDA3MzE0MloYDzIxMDkwMTE5MDcz\n"
    "MTQyWjARMQ8wDQYDVQQDDAZjbGllbnQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n"
    "AARWKQLrE+BT8OcfS1KZxRoMLuLVWI2Hn9LfdCQgSh3Rt4UQC+Hj/GdXzJR5LEYA\n"
    "T38GsrHhWGzz/DTrVD7RuPOVo1MwUTAdBgNVHQ4EFgQUnrARfDKBoyYVEPFWQw8b\n"
    "kXDBUYUwHwYDVR0jBBgwFoAUnrARfDKBoyYVEPFWQw8bkXDBUYUwDwYDVR0TAQH/\n"
    "BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAkW0r+fuOddb/8EAUVm3NZelVnkJD\n"
    "fEoYY5axSEQmKx4CIQC1cWEtjC6MIJxX+Cf30xo4PI562z+ZkWhYvQRKKJMZuw==\n"
    "-----END CERTIFICATE-----\n";

/* openssl ec -aes256; the password of all of them is sesame */
static const char ec_key_traditional[] =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "Proc-Type: 4,ENCRYPTED\n"
    "DEK-Info: AES-256-CBC,123853C36BBEEA1386E7FD103C05F699\n"
    "\n"
    "aGqcV8atXBl0LKUIWB9HGZvwkKMgHYtfh7AOeS3Yb7AI+74YM4gfiLPTKpVPQGx5\n"
    "sECTSOdi5X/FXONJM7VwcETYOVfLsI+sjCTdsXSV+0AIApSqejkW+ofbj9Y+9Sme\n"
    "SleZkyXAWeiTxRBaY4ebhvlFrIr2/dYENFX4AKJR+c8=\n"
    "-----END EC PRIVATE KEY-----\n";

/* openssl pkcs8 -topk8 -v2 des3 */
static const char ec_key_des3[] =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    "MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAg1h780EYRh8AICCAAw\n"
    "DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQIZeMZZw7JNA8EgZC0c2zieUAwu4xn\n"
    "Mn1rPIjQ5is1/q0FfMzqgi+UQH+TKgXfcJKrpy74zqWopBv+u0tTxLUtTYqqE5qc\n"
    "KjKUUy5+CsHn290qvcVoHz5CySTP/4hYoyXT6Mlz6x3lpj0s2BPTOtQfAEbWLq2M\n"
    "XjREwI/zeItMfiSThCvVYpSapgFuzVaKVFLXTMCVnlshXZbqolc=\n"
    "-----END ENCRYPTED PRIVATE KEY-----\n";

/* openssl pkcs8 -topk8: AES-256, which mbedTLS 2.28 lacks there */
static const char ec_key_aes[] =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAipNeXiB9IZmAICCAAw\n"
    "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEJUnJjOzJwJLYg1Q4fidNtcEgZDh\n"
    "6q/btcQEzZF2R1/5ujLtyQEUPaYQs5zQpEJ0B09JyH5JA3ULj3v51339c1gPMnty\n"
    "A0bo3y66fftF76JCXlYCzxW74Lgr4UjRLgQNxi0bMuY3MPJ4LqtmqN51lvEBv1eX\n"
    "h853igAWwG44+L79s03es+zQXqp3Qomd5pXQA4cN6cH28/vckNKosmCSI2g2tOw=\n"
    "-----END ENCRYPTED PRIVATE KEY-----\n";

/* openssl genpkey -algorithm ed25519 */
static const char ed_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEID86acp9+qXZzo5lRavyiT4RLiLEab8LBpZSsUCFvMe2\n"
    "-----END PRIVATE KEY-----\n";

/* openssl req -x509, of that key */
static const char ed_cert[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBVTCCAQegAwIBAgIUDipz+yhQuMeDW6KDNYlRSMGjfQcwBQYDK2VwMBQxEjAQ\n"
    "BgNVBAMMCWxvY2FsaG9zdDAgFw0yNjExMzAwNzMxNDJaGA8yMTA5MDExOTA3MzE0\n"
    "MlowFDESMBAGA1UEAwwJbG9jYWxob3N0MCowBQYDK2VwAyEAWrUVQxqsIiiHqZ32\n"
    "NmMOwlRdejkwNK5T0tFhu36eIeKjaTBnMB0GA1UdDgQWBBRsakeZWKEWL0BYxCHW\n"
    "oBabSc+FvjAfBgNVHSMEGDAWgBRsakeZWKEWL0BYxCHWoBabSc+FvjAPBgNVHRMB\n"
    "Af8EBTADAQH/MBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAFBgMrZXADQQA57TCXLwdx\n"
    "Uw+1A2P7qFhwryUxoYWwU6YCGYb8bf8ZBNguoSaCA9BTh8ThaCls3afcAO/PUZzX\n"
    "aJhCor1QJXUF\n"
    "-----END CERTIFICATE-----\n";

/* openssl req -x509, of a key of openssl genpkey -algorithm RSA-PSS */
static const char pss_cert[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIDiTCCAjygAwIBAgIUGlYuZL/6PAIuLTeGbpuMCgFGJJcwQgYJKoZIhvcNAQEK\n"
    "MDWgDzANBglghkgBZQMEAgEFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgEF\n"
    "AKIEAgIA3jAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwIBcNMjYxMTMwMDczMTQyWhgP\n"
    "MjEwOTAxMTkwNzMxNDJaMBQxEjAQBgNVBAMMCWxvY2FsaG9zdDCCASAwCwYJKoZI\n"
    "hvcNAQEKA4IBDwAwggEKAoIBAQDEfvJbkSeRjKUmf3G3aU+e69lQaFzpHpSS/Axw\n"
    "uJSWFftLPAQ9wqVOMVCpy6AEloaLGmXYgNsYKrRA/Ux92N5VGR+RnoApGOvd9ELp\n"
    "O2qWeeW5b1iZqIjPdo9VvGVLCsCDfSjy3T2NAPtk7GIbb3A/VAFtcApxP8gTabg0\n"
    "i7QI2N7/fkJnOWdfveI1zSw5pgd5gfrFhWtIJNsv9uVV/peRzdd//uQSdgZTgLxb\n"
    "RElXoR5Ia459+bnvVCZOPtfONB6kqEuso2ufK6ioT09L8elG2HuBh3jLinZF/OZR\n"
    "sPEm0Gu+3xT/WMf/JCvF1md1IYL6APM5QKV0OPHAZWnsmiidAgMBAAGjaTBnMB0G\n"
    "A1UdDgQWBBRyxWArv2QSIVxveGT+bbFt765lIjAfBgNVHSMEGDAWgBRyxWArv2QS\n"
    "IVxveGT+bbFt765lIjAPBgNVHRMBAf8EBTADAQH/MBQGA1UdEQQNMAuCCWxvY2Fs\n"
    "aG9zdDBCBgkqhkiG9w0BAQowNaAPMA0GCWCGSAFlAwQCAQUAoRwwGgYJKoZIhvcN\n"
    "AQEIMA0GCWCGSAFlAwQCAQUAogQCAgDeA4IBAQAM2zRmT0/Vf52ZGJucRwPE7G0E\n"
    "ij1pZiYQJGYikvChP9DoEVIpn1FFcaRovpHc15YFWfS4ZmMFOVJOg2RK7zQs2Fq/\n"
    "Ud45+NrSYDWpA9YLGCSKqWbXs2NhVdr2qrbm0m38hPI7Gk+zkDagt2weqaP2Vn5O\n"
    "teaBK1RZ+aShrPeqiwq2+D3iykNA+B3/9tKeeFIqxye7g1irZxilEAFDmScwlCAo\n"
    "rS/Ojm43a7N6Ew+XIQpbExySOn2OKj7C3dSE7r2DkRcbOhOXZUmmtdhR31GJhKTS\n"
    "JWeF5EiLWNzubuZFpJxFnAKDAb48PzkcDF0tKsbOXti4rEkoCjY1LRfClZQV\n"
    "-----END CERTIFICATE-----\n";

#endif
