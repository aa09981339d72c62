//! The keys an issuer publishes (RFC 7517), and the signatures they verify.
