// The certificates of one run: a CA of its own, made by the openssl command line, and what it signs.
// They live for a day in the run's temporary folder; nothing here is ever committed.
import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PROFILES = `
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
`;

/** Makes the CA in `folder` and gives the function that issues from it: `issue(name, 'server' | 'client')`. */
export function makeCertificates(folder) {
  const profiles = join(folder, 'openssl.cnf');
  writeFileSync(profiles, PROFILES);

  const make = (name, profile, signer) => {
    const certificate = join(folder, `${name}.pem`);
    const key = join(folder, `${name}.key`);
    execFileSync('openssl', [
      'req', '-x509', '-config', profiles, '-extensions', profile, '-subj', `/CN=${name}`, '-days', '1',
      '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-keyout', key, '-out', certificate,
      ...(signer ? ['-CA', signer.certificate, '-CAkey', signer.key] : []),
    ], { stdio: 'pipe', timeout: 30_000 });
    return { certificate, key };
  };

  const ca = make('interop-ca', 'ca');
  return { ca, issue: (name, profile) => make(name, profile, ca) };
}

/** `x5t#S256` of a certificate file (RFC 8705 §3.1): the hash of its DER, counted here apart from any library under test. */
export function thumbprintOf({ certificate }) {
  return createHash('sha256').update(new X509Certificate(readFileSync(certificate)).raw).digest('base64url');
}
