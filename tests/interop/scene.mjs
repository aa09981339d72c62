// The scene that every test file plays in: a CA, the authorization server, the upstream, and the real gateway between them.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Agent, fetch } from 'undici';

import { startAuthority } from './authority.mjs';
import { makeCertificates } from './certificates.mjs';
import { startGateway } from './gateway.mjs';
import { startUpstream } from './upstream.mjs';

// `node --test` ends a file that takes too long with SIGTERM; exiting in order lets the exit handlers end what was started.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/**
 * Everything up and ready. `close` ends it all in the reverse order and removes the folder; so does a start that fails.
 * `pages` is an origin whose pages may call; `more` has upstreams and routes beside the usual ones, settings of the issuer, and limits, or makes them for the run's CA, a client certificate of it, the authority and the folder.
 */
export async function openScene({ pages, more } = {}) {
  const closers = [];
  // What does not close must not keep the rest open: a server left listening would hold the test run for ever.
  const close = async () => {
    const failures = [];
    for (const closer of closers.splice(0).reverse()) {
      try {
        await closer();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  };
  const opened = (part) => {
    closers.push(() => part.close());
    return part;
  };

  const folder = mkdtempSync(join(tmpdir(), 'holdfast-interop-'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.on('exit', remove);
  closers.push(remove);
  try {
    const { ca, issue } = makeCertificates(folder);
    const server = issue('localhost', 'server');
    const authority = opened(await startAuthority(server));
    const upstream = opened(await startUpstream());
    const gateway = opened(await startGateway({ folder, server, ca, issuer: authority.issuer, upstream: upstream.url, pages, more: more instanceof Function ? more({ ca, client: issue('gateway', 'client'), authority, folder }) : more }));

    /** A `fetch` that trusts the run's CA and nothing else, and shows `certificate` to whoever asks. */
    const fetchWith = (certificate) => {
      const connect = { ca: readFileSync(ca.certificate) };
      if (certificate) Object.assign(connect, { cert: readFileSync(certificate.certificate), key: readFileSync(certificate.key) });
      const dispatcher = new Agent({ connect, headersTimeout: 20_000, bodyTimeout: 20_000 });
      closers.push(() => dispatcher.destroy());
      return (url, init) => fetch(url, { ...init, dispatcher });
    };
    return { folder, ca, issue, server, authority, upstream, gateway, fetchWith, fetch: fetchWith(), close };
  } catch (error) {
    await close().catch(() => {}); // what failed first is what the reader wants to know
    throw error;
  }
}
