//! `X-Forwarded-Client-Cert`, as Envoy writes it: which certificate a caller has shown to it.
//!
//! Elements are separated by `,`, pairs of an element by `;`; a value with one of these is quoted. Exactly one element is taken, and that
//! is what a proxy writes that removes what its caller sent (`forward_client_cert_details: SANITIZE_SET`): with several, the first are
//! those of whoever connected to the proxy, and the header does not say whether that was somebody to believe.
//!
//! Envoy quotes a subject, but not the URIs and DNS names of a certificate, and those are the caller's words: a certificate may have a name
//! with `;Cert=…` or `,Hash=…` in it. Envoy writes `Hash` before them in every element, so such a name gives itself away: it makes a
//! second element, or a second `Hash`, or a `Cert` that is not the one that `Hash` is of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::tls::LARGEST_CERTIFICATE;
use crate::verify::digest::{Certificate, Digest};

/// A certificate as the header names it: its digest, and the certificate itself where the header has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Of its DER.
    pub(super) digest: Digest<Certificate>,
    /// Its DER.
    pub(super) der: Option<Bytes>,
}

/// The certificate that a whole header names. `None` for anything that is not one element with `Hash` or `Cert`, or with both of the same
/// certificate, and with neither of them twice.
///
/// Whether the DER is a certificate is not judged here.
pub(super) fn read(line: &[u8]) -> Option<Named> {
    let (mut hash, mut cert, mut rest) = (None, None, line);
    loop {
        let equals = rest.iter().position(|&byte| byte == b'=')?;
        let name = &rest[..equals];
        let (value, behind) = value(&rest[equals + 1..])?;
        // Names in any case; those that may come several times say nothing that is looked at here.
        if name.eq_ignore_ascii_case(b"hash") {
            set(&mut hash, Digest::from_hex(&value)?)?;
        } else if name.eq_ignore_ascii_case(b"cert") {
            set(&mut cert, pem(&percent_decoded(&value)?)?)?;
        } else if !NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            return None;
        }
        match behind {
            [] => break,
            [b';', behind @ ..] => rest = behind,
            // A second element, or a quoted string that goes on.
            _ => return None,
        }
    }
    let told: Option<Digest<Certificate>> = hash;
    let shown = cert.as_ref().map(|der: &Vec<u8>| Digest::of(der));
    let digest = match (told, shown) {
        (Some(told), Some(shown)) if told != shown => return None,
        (told, shown) => told.or(shown)?,
    };
    Some(Named { digest, der: cert.map(Bytes::from) })
}

/// What else an element may hold.
const NAMES: [&[u8]; 5] = [b"by", b"chain", b"subject", b"uri", b"dns"];

fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// A value up to `;` or `,`, or a quoted one, in which `\` stands before `"`; and what is behind it.
fn value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| matches!(byte, b';' | b',')).unwrap_or(text.len());
        let value = &text[..end];
        return (!value.contains(&b'"')).then(|| (value.to_vec(), &text[end..]));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some((value, &quoted[at + 1..])),
            // Only a quote is escaped; a backslash in a subject stands for itself.
            b'\\' if quoted.get(at + 1) == Some(&b'"') => {
                bytes.next();
                value.push(b'"');
            }
            byte => value.push(byte),
        }
    }
    None
}

/// RFC 3986 §2.1. A `+` is a plus here: this is no form.
fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        decoded.push(match byte {
            b'%' => {
                let [high, low, behind @ ..] = rest else { return None };
                rest = behind;
                hex_digit(*high)? << 4 | hex_digit(*low)?
            }
            byte => *byte,
        });
    }
    Some(decoded)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// RFC 7468 §2, §5.1: one certificate and nothing around it. The DER.
fn pem(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let encoded =
        text.strip_prefix(b"-----BEGIN CERTIFICATE-----")?.strip_suffix(b"-----END CERTIFICATE-----")?;
    // Of the lines only the ends are left out: a second certificate, or a header, has characters that base64 lacks.
    let encoded: Vec<u8> = encoded.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    if encoded.len() > LARGEST_CERTIFICATE.div_ceil(3) * 4 {
        return None;
    }
    STANDARD.decode(encoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DER: &[u8] = b"a certificate's DER, as far as this file is concerned, on more than one line of PEM";

    fn hash(der: &[u8]) -> String {
        Digest::<Certificate>::of(der).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn encoded(der: &[u8]) -> String {
        let encoded = STANDARD.encode(der);
        let mut lines = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in encoded.as_bytes().chunks(64) {
            lines.push_str(std::str::from_utf8(line).expect("base64"));
            lines.push('\n');
        }
        lines.push_str("-----END CERTIFICATE-----\n");
        lines.bytes().fold(String::new(), |text, byte| {
            if byte.is_ascii_alphanumeric() {
                text + &char::from(byte).to_string()
            } else {
                format!("{text}%{byte:02X}")
            }
        })
    }

    fn named(line: &str) -> Option<Option<Vec<u8>>> {
        let named = read(line.as_bytes())?;
        assert_eq!(named.digest, Digest::of(DER), "{line}");
        Some(named.der.map(|der| der.to_vec()))
    }

    #[test]
    fn elements_as_envoy_writes_them() {
        let (hash, cert) = (hash(DER), encoded(DER));
        for (line, der) in [
            (format!("Hash={hash}"), None),
            (format!("By=spiffe://gateway;Hash={hash}"), None),
            (format!("Hash={};URI=", hash.to_uppercase()), None),
            (format!("By=;Hash={hash};Cert=\"{cert}\""), Some(DER.to_vec())),
            (format!("hash={hash};CERT={cert}"), Some(DER.to_vec())),
            (format!("Cert=\"{cert}\";Hash={hash}"), Some(DER.to_vec())),
            (format!("Cert=\"{cert}\""), Some(DER.to_vec())),
            (
                format!(
                    "Hash={hash};Cert=\"{cert}\";Chain=\"{cert}{cert}\";Subject=\"CN=a\\\", b;c=\\d\";URI=;DNS=a.b;DNS=c=d"
                ),
                Some(DER.to_vec()),
            ),
        ] {
            assert_eq!(named(&line), Some(der), "{line}");
        }
    }

    #[test]
    fn what_deviates_names_nobody() {
        let (right, cert) = (hash(DER), encoded(DER));
        let (other, other_cert) = (hash(b"another"), encoded(b"another"));
        for line in [
            String::new(),
            "Hash".to_owned(),
            "Hash=".to_owned(),
            format!("Hash={}", &right[1..]),
            format!("Hash={right}0"),
            format!("Hash={}g", &right[1..]),
            "By=spiffe://gateway".to_owned(),
            format!("Hash={right};Cert=\"{other_cert}\""),
            format!("Hash={other};Cert=\"{cert}\""),
            format!("Hash={right};Hash={right}"),
            format!("Hash={right};Cert=\"{cert}\";Cert=\"{cert}\""),
            // Several elements, as names of a certificate could make them.
            format!("Hash={right},Hash={right}"),
            format!("Hash={other};URI=x,Hash={right}"),
            format!("Hash={other};URI=x;Hash={right}"),
            format!("Hash={other};URI=x;Cert=\"{cert}\""),
            format!("Hash={right},"),
            format!(",Hash={right}"),
            format!("Hash={right};"),
            format!(";Hash={right}"),
            format!("Hash={right}; Subject=\"\""),
            format!("Hash={right};Unknown=x"),
            format!("Hash=\"{right}"),
            format!("Hash=\"{right}\"x"),
            format!("Hash={right};DNS=a\"b"),
            format!("Hash={right};Cert=\"{}\"", cert.replace('%', "")),
            format!("Hash={right};Cert=\"{cert}%2\""),
            format!("Hash={right};Cert=\"{cert}%zz\""),
            format!("Hash={right};Cert=\"{cert}{cert}\""),
            format!("Hash={right};Cert=\"x{cert}\""),
            format!("Hash={right};Cert=\"{cert}x\""),
            format!("Hash={right};Cert=\"{}\"", STANDARD.encode(DER)),
            format!("Hash={};Cert=\"{}\"", hash(&vec![0; 20_000]), encoded(&vec![0; 20_000])),
        ] {
            assert_eq!(read(line.as_bytes()), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(line in "[ -~]{0,80}") {
            let _ = read(line.as_bytes());
        }

        /// No name of a certificate makes another certificate of it: Envoy puts them behind `Hash`, as they are.
        #[test]
        fn a_name_cannot_speak_for_another(uri in "[ -~]{0,40}", dns in "(Hash|Cert|,|;|=|\"|a){0,8}") {
            let line = format!("By=;Hash={};URI={uri};DNS={dns}", hash(DER));
            if let Some(named) = read(line.as_bytes()) {
                prop_assert_eq!(named.digest, Digest::of(DER));
            }
        }
    }
}
