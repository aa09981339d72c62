// Opaque tokens: how the gateway is set up to ask about them, and how a caller gets one.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { GATEWAYS } from './authority.mjs';

/** The resource whose tokens are opaque; the audience is the gateway as ever. oidc-provider tells no `sub` of them, since they are a client's own. */
export const opaqueAt = (scene) => `${scene.gateway.url}/opaque`;

/** The settings of the issuer for one way of asking. Unless `cache` says otherwise nothing is remembered, so that every request asks. */
export const asking = (form, { cache = '0s', timeout = '5s' } = {}) => ({ authority, folder }) => {
  const { client_id, client_secret } = GATEWAYS[form];
  writeFileSync(join(folder, 'client-secret'), client_secret ?? '');
  writeFileSync(join(folder, 'gateway-key.pem'), authority.gatewayKey);
  const shown = client_secret
    ? 'client_secret: { file: client-secret }'
    : `authentication: private_key_jwt
      client_key: { file: gateway-key.pem }
      client_key_id: sig-1
      answer: ${form === 'jwt' ? 'jwt' : 'encrypted-jwt'}`;
  const encryption = 'encryption: { keys: [{ key: { file: gateway-key.pem }, id: enc-1 }], tokens: optional }';
  return {
    issuer: `    introspection:
      client_id: ${client_id}
      cache: ${cache}
      timeout: ${timeout}
      cache_inactive: 0s
      ${shown}
    ${form === 'encrypted' ? encryption : ''}`,
  };
};
