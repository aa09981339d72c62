//! The words of each choice. None is `yes`, `no`, `on` or `off`: YAML 1.1 tools turn those into booleans.

use super::client::Audience;
use super::decode::Words;
use super::encryption::SealedTokens;
use super::introspection::AnswerForm;
use super::profile::Profile;
use super::{
    AfterRestart, ClientCertificateHeader, Credential, ForwardedHeader, LimitBy, OnFailure, Protocol,
    ProxyProtocol, credentials,
};
use crate::verify::enforcement::Enforcement;
use crate::verify::policy::{BindingRule, NonceRule};
use crate::verify::token::TokenType;

/// Declares the words of a choice.
macro_rules! words {
    ($($kind:ty { $($word:literal => $value:expr),+ $(; later $($later:literal),+)? })+) => {
        $(impl Words for $kind {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $value)),+];
            $(const LATER: &'static [&'static str] = &[$($later),+];)?
        })+
    };
}

/// `tls.min_version`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MinVersion {
    Tls12,
    Tls13,
}

/// `client_certificates.request`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CertificateRequest {
    Optional,
    Required,
}

/// `authentication` of a client
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authentication {
    Basic,
    Post,
    PrivateKeyJwt,
    Tls,
}

/// One of `forward.report`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reported {
    XForwarded,
    Forwarded,
    ClientCert,
    RequestId,
}

/// `forward.identity`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    None,
    Headers,
    Assertion,
}

/// `reload.watch`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watching {
    Files,
    None,
}

/// `log.access`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessLog {
    Json,
    None,
}

words! {
    MinVersion { "1.2" => MinVersion::Tls12, "1.3" => MinVersion::Tls13 }
    CertificateRequest { "optional" => CertificateRequest::Optional, "required" => CertificateRequest::Required }
    ClientCertificateHeader {
        "none" => ClientCertificateHeader::None, "client-cert" => ClientCertificateHeader::ClientCert,
        "xfcc" => ClientCertificateHeader::Xfcc
    }
    ForwardedHeader {
        "x-forwarded" => ForwardedHeader::XForwarded, "forwarded" => ForwardedHeader::Forwarded,
        "none" => ForwardedHeader::None
    }
    ProxyProtocol { "none" => ProxyProtocol::None, "required" => ProxyProtocol::Required }
    Reported {
        "x-forwarded" => Reported::XForwarded, "forwarded" => Reported::Forwarded,
        "client-cert" => Reported::ClientCert, "x-request-id" => Reported::RequestId
    }
    Authentication {
        "client_secret_basic" => Authentication::Basic, "client_secret_post" => Authentication::Post,
        "private_key_jwt" => Authentication::PrivateKeyJwt, "tls" => Authentication::Tls
    }
    AnswerForm {
        "json" => AnswerForm::Json, "jwt" => AnswerForm::Jwt, "encrypted-jwt" => AnswerForm::EncryptedJwt
    }
    SealedTokens { "required" => SealedTokens::Required, "optional" => SealedTokens::Optional }
    Audience { "issuer" => Audience::Issuer, "endpoint" => Audience::Endpoint }
    Protocol { "http1" => Protocol::Http1, "http2" => Protocol::Http2 }
    TokenType { "at+jwt" => TokenType::AtJwt, "any" => TokenType::Any }
    NonceRule { "none" => NonceRule::None, "required" => NonceRule::Required }
    OnFailure { "refuse" => OnFailure::Refuse, "nonce" => OnFailure::Nonce }
    AfterRestart { "refuse" => AfterRestart::Refuse, "accept" => AfterRestart::Accept }
    BindingRule {
        "any" => BindingRule::Any, "dpop" => BindingRule::Dpop,
        "mtls" => BindingRule::Mtls, "both" => BindingRule::Both
    }
    Enforcement { "enforce" => Enforcement::Enforce, "report-only" => Enforcement::ReportOnly }
    credentials::Word { "strip" => credentials::Word::Strip, "keep" => credentials::Word::Keep,
        "exchange" => credentials::Word::Exchange }
    Credential { "authorization" => Credential::Authorization, "dpop" => Credential::Dpop }
    Identity { "none" => Identity::None, "headers" => Identity::Headers, "assertion" => Identity::Assertion }
    tracing::Level {
        "error" => tracing::Level::ERROR, "warn" => tracing::Level::WARN, "info" => tracing::Level::INFO,
        "debug" => tracing::Level::DEBUG, "trace" => tracing::Level::TRACE
    }
    Profile { "none" => Profile::None, "fapi2" => Profile::Fapi2, "mcp" => Profile::Mcp }
    LimitBy { "client" => LimitBy::Client, "key" => LimitBy::Key, "address" => LimitBy::Address }
    Watching { "files" => Watching::Files, "none" => Watching::None }
    AccessLog { "json" => AccessLog::Json, "none" => AccessLog::None }
}

#[cfg(test)]
mod tests {
    use super::{
        AccessLog, Audience, Authentication, BindingRule, CertificateRequest, ClientCertificateHeader,
        Enforcement, ForwardedHeader, NonceRule, ProxyProtocol, Reported, Watching, Words,
    };

    fn words<T: Words>() -> Vec<&'static str> {
        T::WORDS.iter().map(|(word, _)| *word).chain(T::LATER.iter().copied()).collect()
    }

    #[test]
    fn no_word_is_a_boolean_to_anyone() {
        let all = [
            words::<AccessLog>(),
            words::<Audience>(),
            words::<Authentication>(),
            words::<BindingRule>(),
            words::<CertificateRequest>(),
            words::<Enforcement>(),
            words::<ClientCertificateHeader>(),
            words::<ForwardedHeader>(),
            words::<Reported>(),
            words::<NonceRule>(),
            words::<ProxyProtocol>(),
            words::<Watching>(),
            words::<tracing::Level>(),
        ];
        for word in all.concat() {
            assert!(!["yes", "no", "on", "off", "true", "false", "y", "n", "null"].contains(&word), "{word}");
        }
    }
}
