//! Settings that are written in one of two ways: a word or a mapping, this place or that.

use super::complaint::{Complaints, quoted};
use super::completion::Completion;
use super::decode::{Decode, Described};
use super::document::{Node, Value};
use super::file::{CaTrust, SecretPlace, TlsSettings};
use super::values::{FilePath, Name};

/// `tls` of a listener.
#[derive(Clone, Debug)]
pub(super) enum Tls {
    Plaintext,
    Settings(Box<TlsSettings>),
}

impl Decode for Tls {
    fn decode(node: &Node, complaints: &mut Complaints) -> Option<Self> {
        match &node.value {
            Value::Scalar(scalar) if scalar.text == "plaintext" => Some(Tls::Plaintext),
            Value::Scalar(scalar) => {
                let message = format!("{} is no way to listen", quoted(&scalar.text));
                complaints.add_with(node.span, message, "a mapping with `certificates`, or `plaintext`");
                None
            }
            _ => TlsSettings::decode(node, complaints).map(|settings| Tls::Settings(Box::new(settings))),
        }
    }

    fn complete(node: &mut Node, completion: &mut Completion) {
        TlsSettings::complete(node, completion);
    }

    fn describe(path: &str, into: &mut Vec<Described>) {
        TlsSettings::describe(path, into);
    }
}

/// `trust` of `client_certificates`.
#[derive(Clone, Debug)]
pub(super) enum ClientTrust {
    Any,
    Ca(CaTrust),
}

impl Decode for ClientTrust {
    fn decode(node: &Node, complaints: &mut Complaints) -> Option<Self> {
        match &node.value {
            Value::Scalar(scalar) if scalar.text == "any" => Some(ClientTrust::Any),
            Value::Scalar(scalar) => {
                let message = format!("{} is nothing to trust", quoted(&scalar.text));
                complaints.add_with(node.span, message, "`any`, or `{ ca: FILE }`");
                None
            }
            _ => CaTrust::decode(node, complaints).map(ClientTrust::Ca),
        }
    }

    fn describe(path: &str, into: &mut Vec<Described>) {
        CaTrust::describe(path, into);
    }
}

/// Where a secret is: never in the configuration itself.
#[derive(Clone, Debug)]
pub(super) enum Secret {
    File(FilePath),
    Environment(Name),
}

impl Decode for Secret {
    fn decode(node: &Node, complaints: &mut Complaints) -> Option<Self> {
        const MEND: &str = "`{ file: PATH }` or `{ env: NAME }`";
        if !matches!(node.value, Value::Mapping(_) | Value::Refused) {
            complaints.hide(node.span);
            complaints.add_with(node.span, "a secret is never written into the configuration", MEND);
            return None;
        }
        let place = SecretPlace::decode(node, complaints)?;
        match (place.file, place.env) {
            (Some(file), None) => Some(Secret::File(file.value)),
            (None, Some(name)) => Some(Secret::Environment(name.value)),
            (Some(_), Some(name)) => {
                complaints.add_with(name.span, "two places for one secret", MEND);
                None
            }
            (None, None) => {
                complaints.add_with(node.span, "no place for the secret", MEND);
                None
            }
        }
    }
}
