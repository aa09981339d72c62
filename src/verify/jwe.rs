//! Encrypted tokens and answers (RFC 7516): the compact serialisation, opened with a private key of the gateway's.
//!
//! Who encrypts knows a public key and nothing else, so an opened text proves nothing of where it came from: what is inside has to be signed, and is
//! judged as ever. Everything in front of the key is anyone's to write. So the algorithms are few: no RSA1_5 (RFC 8725 §3.2), no
//! passwords (PBES2, whose `p2c` is work for us that the sender chooses), no symmetric keys; and no `zip`, whose output has no limit (RFC 8725bis §3.13).
//!
//! josekit opens what is here. It is handed nothing but lengths that the standards give: with others its key unwrapping panics, and a GCM tag
//! that is cut to four bytes is compared on four bytes. For AES-CBC it decrypts before it looks at the tag, which tells apart two kinds of
//! forgeries by time, so the tag is verified here first (RFC 7518 §5.2.2.2 step 2).

use std::fmt;

use aws_lc_rs::hmac;
use josekit::jwe::enc::{A128CBC_HS256, A128GCM, A256CBC_HS512, A256GCM};
use josekit::jwe::{ECDH_ES, ECDH_ES_A256KW, JweContentEncryption, JweDecrypter, JweHeader, RSA_OAEP_256};
use josekit::jwk::Jwk;
use subtle::ConstantTimeEq as _;

use super::json::{Object, Value};
use super::jwks::KID_BYTES;
use super::jws::{self, from_base64url};

/// How the key of the content reaches us (RFC 7518 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreement {
    RsaOaep256,
    EcdhEs,
    EcdhEsA256kw,
}

impl Agreement {
    const ALL: [Agreement; 3] = [Agreement::RsaOaep256, Agreement::EcdhEs, Agreement::EcdhEsA256kw];

    const fn name(self) -> &'static str {
        match self {
            Agreement::RsaOaep256 => "RSA-OAEP-256",
            Agreement::EcdhEs => "ECDH-ES",
            Agreement::EcdhEsA256kw => "ECDH-ES+A256KW",
        }
    }
}

/// How the content is encrypted (RFC 7518 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    A128Gcm,
    A256Gcm,
    A128CbcHs256,
    A256CbcHs512,
}

impl Content {
    const ALL: [Content; 4] =
        [Content::A128Gcm, Content::A256Gcm, Content::A128CbcHs256, Content::A256CbcHs512];

    const fn name(self) -> &'static str {
        match self {
            Content::A128Gcm => "A128GCM",
            Content::A256Gcm => "A256GCM",
            Content::A128CbcHs256 => "A128CBC-HS256",
            Content::A256CbcHs512 => "A256CBC-HS512",
        }
    }

    /// Bytes of key, initialisation vector and tag.
    const fn lengths(self) -> (usize, usize, usize) {
        match self {
            Content::A128Gcm => (16, 12, 16),
            Content::A256Gcm => (32, 12, 16),
            Content::A128CbcHs256 => (32, 16, 16),
            Content::A256CbcHs512 => (64, 16, 32),
        }
    }

    fn cipher(self) -> &'static dyn JweContentEncryption {
        match self {
            Content::A128Gcm => &A128GCM,
            Content::A256Gcm => &A256GCM,
            Content::A128CbcHs256 => &A128CBC_HS256,
            Content::A256CbcHs512 => &A256CBC_HS512,
        }
    }

    const fn mac(self) -> Option<hmac::Algorithm> {
        match self {
            Content::A128Gcm | Content::A256Gcm => None,
            Content::A128CbcHs256 => Some(hmac::HMAC_SHA256),
            Content::A256CbcHs512 => Some(hmac::HMAC_SHA512),
        }
    }
}

/// A private key that opens what was encrypted to the gateway. It is never printed.
pub struct DecryptionKey {
    jwk: Jwk,
    name: Option<String>,
    kind: Kind,
    openers: Vec<(Agreement, Box<dyn JweDecrypter>)>,
}

/// What a key is, as far as it decides what was encrypted to it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// The length of its modulus, in bytes.
    Rsa(usize),
    /// Its curve.
    Ec(String),
}

impl DecryptionKey {
    /// The key of a private JWK: RSA of 2048 bits or more, or on a NIST curve. `name` is the `kid` that it was published under. `None` for
    /// any other key.
    pub fn new(jwk: Jwk, name: Option<String>) -> Option<Self> {
        let text = |member: &str| jwk.parameter(member).and_then(|value| value.as_str());
        let kind = match jwk.key_type() {
            "RSA" => Kind::Rsa(from_base64url(text("n")?)?.len()),
            "EC" if ["P-256", "P-384", "P-521"].contains(&text("crv")?) => Kind::Ec(text("crv")?.to_owned()),
            _ => return None,
        };
        let openers: Vec<(Agreement, Box<dyn JweDecrypter>)> = match kind {
            Kind::Rsa(_) => {
                vec![(Agreement::RsaOaep256, Box::new(RSA_OAEP_256.decrypter_from_jwk(&jwk).ok()?))]
            }
            Kind::Ec(_) => vec![
                (Agreement::EcdhEs, Box::new(ECDH_ES.decrypter_from_jwk(&jwk).ok()?)),
                (Agreement::EcdhEsA256kw, Box::new(ECDH_ES_A256KW.decrypter_from_jwk(&jwk).ok()?)),
            ],
        };
        Some(Self { jwk, name, kind, openers })
    }
}

impl PartialEq for DecryptionKey {
    fn eq(&self, other: &Self) -> bool {
        // The rest follows from the key.
        (&self.jwk, &self.name) == (&other.jwk, &other.name)
    }
}

impl Eq for DecryptionKey {}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecryptionKey(…)")
    }
}

/// A compact JWE whose header, and the lengths of whose parts, are what we take. Nothing in it is to be believed.
#[must_use]
pub struct Sealed<'t> {
    /// The header as it stood: what else the tag is over.
    protected: &'t str,
    header: JweHeader,
    agreement: Agreement,
    content: Content,
    kid: Option<String>,
    curve: Option<String>,
    encrypted_key: Vec<u8>,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
}

/// What was inside a JWE: text, which is signed or worth nothing. It is never printed.
#[must_use]
pub struct Opened(String);

impl Opened {
    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened(…)")
    }
}

impl<'t> Sealed<'t> {
    /// Reads `text`, whose length the caller has bounded. `None` unless it is five parts in base64url of one spelling, with a header that asks for
    /// nothing we do not do and says that there is a JWT inside (`cty`, RFC 7519 §5.2).
    pub fn read(text: &'t str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut part = || parts.next();
        let [protected, encrypted_key, iv, ciphertext, tag] = [part()?, part()?, part()?, part()?, part()?];
        if part().is_some() {
            return None;
        }
        let header_text = from_base64url(protected)?;
        let header = Object::read(&header_text)?;
        if jws::demands_extension(&header) || ["zip", "p2s", "p2c"].iter().any(|name| header.has(name)) {
            return None;
        }
        let name = jws::string(&header, "alg")?;
        let agreement = Agreement::ALL.into_iter().find(|one| one.name() == name)?;
        let name = jws::string(&header, "enc")?;
        let content = Content::ALL.into_iter().find(|one| one.name() == name)?;
        let inside = jws::string(&header, "cty")?.to_ascii_lowercase();
        let inside = inside.strip_prefix("application/").unwrap_or(&inside);
        if inside != "jwt" && !inside.ends_with("+jwt") {
            return None;
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= KID_BYTES => Some(kid.to_string()),
            Some(_) => return None,
        };
        let curve = header.get("epk").and_then(Value::as_object).and_then(|epk| jws::string(epk, "crv"));
        let curve = curve.map(str::to_owned);
        let sealed = Self {
            protected,
            // Of a text without duplicates two readers read the same.
            header: JweHeader::from_bytes(&header_text).ok()?,
            agreement,
            content,
            kid,
            curve,
            encrypted_key: from_base64url(encrypted_key)?,
            iv: from_base64url(iv)?,
            ciphertext: from_base64url(ciphertext)?,
            tag: from_base64url(tag)?,
        };
        let (_, iv_length, tag_length) = content.lengths();
        (sealed.iv.len() == iv_length && sealed.tag.len() == tag_length).then_some(sealed)
    }

    /// Whether it says that it was encrypted to `key`: by `kid` where both have one, and by what the key is. One key is chosen so and no second one is
    /// tried.
    pub fn fits(&self, key: &DecryptionKey) -> bool {
        let named = match (&self.kid, &key.name) {
            (Some(kid), Some(name)) => kid == name,
            (None, _) | (_, None) => true,
        };
        let (key_length, ..) = self.content.lengths();
        named
            && match (self.agreement, &key.kind) {
                (Agreement::RsaOaep256, Kind::Rsa(length)) => self.encrypted_key.len() == *length,
                // RFC 7518 §4.6: the agreed key itself is the content's, so there is no other.
                (Agreement::EcdhEs, Kind::Ec(curve)) => {
                    self.encrypted_key.is_empty() && self.curve.as_ref() == Some(curve)
                }
                // RFC 3394 §2: eight bytes more than the key that is wrapped.
                (Agreement::EcdhEsA256kw, Kind::Ec(curve)) => {
                    self.encrypted_key.len() == key_length + 8 && self.curve.as_ref() == Some(curve)
                }
                (Agreement::RsaOaep256, Kind::Ec(_))
                | (Agreement::EcdhEs | Agreement::EcdhEsA256kw, Kind::Rsa(_)) => false,
            }
    }

    /// Opens it with a key that it [fits](Sealed::fits). `None` for any other key, and for whatever is wrong: what is, is nobody's to know.
    pub fn open(&self, key: &DecryptionKey) -> Option<Opened> {
        if !self.fits(key) {
            return None;
        }
        let (_, opener) = key.openers.iter().find(|(agreement, _)| *agreement == self.agreement)?;
        let encrypted_key = Some(self.encrypted_key.as_slice()).filter(|key| !key.is_empty());
        let cipher = self.content.cipher();
        let secret = opener.decrypt(encrypted_key, cipher, &self.header).ok()?;
        let (key_length, ..) = self.content.lengths();
        if secret.len() != key_length || !self.has_right_tag(&secret) {
            return None;
        }
        let protected = self.protected.as_bytes();
        let text =
            cipher.decrypt(&secret, Some(&self.iv), &self.ciphertext, protected, Some(&self.tag)).ok()?;
        String::from_utf8(text).ok().map(Opened)
    }

    /// The tag of AES-CBC (RFC 7518 §5.2.2.1): an HMAC with the first half of the key, cut in half. GCM looks at its own before it gives anything out.
    fn has_right_tag(&self, secret: &[u8]) -> bool {
        let Some(algorithm) = self.content.mac() else { return true };
        let (mac_key, _) = secret.split_at(secret.len() / 2);
        let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, mac_key));
        context.update(self.protected.as_bytes());
        context.update(&self.iv);
        context.update(&self.ciphertext);
        context.update(&(8 * self.protected.len() as u64).to_be_bytes());
        let whole = context.sign();
        let (half, _) = whole.as_ref().split_at(whole.as_ref().len() / 2);
        half.ct_eq(&self.tag).into()
    }
}

#[cfg(test)]
mod tests;
