//! Keys and clients that an operator has shut out for a while, whatever tokens they hold.
//!
//! It is for the hours between a theft and the end of the last token: an issuer can stop giving tokens out, and only a list here stops the ones it gave. Looking costs a load
//! and nothing else while nobody is shut out. The list outlives a reload and not the process; it is bounded, and a full one refuses another entry
//! instead of letting somebody back in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::verify::confirmation::Confirmation;
use crate::verify::digest::{Certificate, Digest, Key};
use crate::verify::rejection::Rejection;
use crate::verify::time::UnixTime;
use crate::verify::token::VerifiedToken;

/// The most entries.
pub const MOST: usize = 10_000;

/// Who is shut out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcast {
    /// A `client_id`, of every issuer.
    Client(String),
    /// A thumbprint as tokens have it: of a DPoP key (`jkt`), or of a certificate (`x5t#S256`).
    Key(String),
}

/// Why nobody was shut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotShut {
    /// The key is no thumbprint: 43 characters of base64url.
    NoThumbprint,
    /// There are [`MOST`] entries.
    Full,
}

/// Until when someone is shut out, by each of the ways a request can be of them.
#[derive(Clone, Debug, Default)]
struct Entries {
    clients: HashMap<String, UnixTime>,
    keys: HashMap<Digest<Key>, UnixTime>,
    certificates: HashMap<Digest<Certificate>, UnixTime>,
}

/// The list of the moment.
#[derive(Debug, Default)]
pub struct Quarantine {
    entries: ArcSwap<Entries>,
    /// One change at a time. Readers never wait.
    changing: Mutex<()>,
}

impl Entries {
    fn len(&self) -> usize {
        // A thumbprint is in both maps: nobody says whose it is.
        self.clients.len() + self.keys.len()
    }

    fn without_past(&self, now: UnixTime) -> Self {
        let mut entries = self.clone();
        entries.clients.retain(|_, until| now < *until);
        entries.keys.retain(|_, until| now < *until);
        entries.certificates.retain(|_, until| now < *until);
        entries
    }
}

impl Quarantine {
    /// Refuses a token of someone who is shut out. Its issuer's word is enough; whether its holder has the key is not asked.
    ///
    /// # Errors
    /// [`Rejection::Quarantined`]
    pub fn admit(&self, token: &VerifiedToken, now: UnixTime) -> Result<(), Rejection> {
        let entries = self.entries.load();
        if entries.len() == 0 {
            return Ok(());
        }
        let is_over = |until: Option<&UnixTime>| until.is_none_or(|until| now >= *until);
        let client = token.client_id().and_then(|client| entries.clients.get(client));
        let (key, certificate) = match token.confirmation() {
            Confirmation::Key(key) => (Some(key), None),
            Confirmation::Certificate(certificate) => (None, Some(certificate)),
            Confirmation::Both(key, certificate) => (Some(key), Some(certificate)),
            Confirmation::Unbound => (None, None),
        };
        let key = key.and_then(|key| entries.keys.get(&key));
        let certificate = certificate.and_then(|certificate| entries.certificates.get(&certificate));
        if is_over(client) && is_over(key) && is_over(certificate) {
            Ok(())
        } else {
            Err(Rejection::Quarantined)
        }
    }

    /// Shuts someone out until then. Whoever is shut out already is so until then instead.
    ///
    /// # Errors
    /// [`NotShut`]
    pub fn shut(&self, outcast: &Outcast, until: UnixTime, now: UnixTime) -> Result<(), NotShut> {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.entries.load().without_past(now);
        match outcast {
            Outcast::Client(client) => {
                entries.clients.insert(client.clone(), until);
            }
            Outcast::Key(text) => {
                let key = Digest::from_base64url(text).ok_or(NotShut::NoThumbprint)?;
                let certificate = Digest::from_base64url(text).ok_or(NotShut::NoThumbprint)?;
                entries.keys.insert(key, until);
                entries.certificates.insert(certificate, until);
            }
        }
        if entries.len() > MOST {
            return Err(NotShut::Full);
        }
        self.entries.store(Arc::new(entries));
        Ok(())
    }

    /// Lets someone back in. Whether they were shut out.
    pub fn lift(&self, outcast: &Outcast, now: UnixTime) -> bool {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = self.entries.load().without_past(now);
        let was = match outcast {
            Outcast::Client(client) => entries.clients.remove(client).is_some(),
            Outcast::Key(text) => {
                let (key, certificate) = (Digest::from_base64url(text), Digest::from_base64url(text));
                let certificate =
                    certificate.and_then(|certificate| entries.certificates.remove(&certificate));
                key.and_then(|key| entries.keys.remove(&key)).is_some() && certificate.is_some()
            }
        };
        self.entries.store(Arc::new(entries));
        was
    }

    /// Everyone who is shut out, and until when; clients first, each in order.
    pub fn list(&self, now: UnixTime) -> Vec<(Outcast, UnixTime)> {
        let entries = self.entries.load().without_past(now);
        let clients = entries.clients.into_iter().map(|(client, until)| (Outcast::Client(client), until));
        let keys = entries.keys.into_iter().map(|(key, until)| (Outcast::Key(key.to_base64url()), until));
        let mut all: Vec<_> = clients.chain(keys).collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// How many entries there are, past ones among them.
    pub fn len(&self) -> usize {
        self.entries.load().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, NotShut, Outcast, Quarantine, UnixTime};

    const NOW: UnixTime = UnixTime::from_seconds(1_700_000_000);

    #[test]
    fn the_list_is_bounded_and_forgets_what_is_past() {
        let quarantine = Quarantine::default();
        let client = |number: usize| Outcast::Client(format!("c{number}"));
        assert_eq!(quarantine.shut(&client(0), NOW.plus(1), NOW), Ok(()));
        // At once, since each entry copies all before it.
        quarantine.entries.rcu(|entries| {
            let mut entries = super::Entries::clone(entries);
            entries.clients.extend((1..MOST - 1).map(|number| (format!("c{number}"), NOW.plus(100))));
            entries
        });
        assert_eq!(quarantine.shut(&client(MOST - 1), NOW.plus(100), NOW), Ok(()));
        assert_eq!(quarantine.len(), MOST);
        assert_eq!(quarantine.shut(&client(MOST), NOW.plus(100), NOW), Err(NotShut::Full));
        assert_eq!(quarantine.shut(&client(7), NOW.plus(200), NOW), Ok(()), "it is there already");
        assert_eq!(quarantine.shut(&client(MOST), NOW.plus(100), NOW.plus(1)), Ok(()), "one is past");
        assert!(quarantine.lift(&client(7), NOW) && !quarantine.lift(&client(7), NOW));
        assert_eq!(quarantine.list(NOW.plus(300)), []);
    }

    #[test]
    fn keys_are_thumbprints() {
        let quarantine = Quarantine::default();
        let key = |text: &str| Outcast::Key(text.to_owned());
        for wrong in [
            "",
            "abc",
            "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I=",
            "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4J",
        ] {
            assert_eq!(quarantine.shut(&key(wrong), NOW.plus(1), NOW), Err(NotShut::NoThumbprint), "{wrong}");
            assert!(!quarantine.lift(&key(wrong), NOW));
        }
        let right = key("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        assert_eq!(quarantine.shut(&right, NOW.plus(1), NOW), Ok(()));
        assert_eq!(quarantine.list(NOW), [(right.clone(), NOW.plus(1))]);
        assert!(quarantine.lift(&right, NOW) && quarantine.is_empty());
        // As a certificate's it is let back in too, and forgotten when it is past.
        assert_eq!(quarantine.entries.load().certificates.len(), 0);
        assert_eq!(quarantine.shut(&right, NOW.plus(1), NOW), Ok(()));
        assert_eq!(quarantine.shut(&Outcast::Client("app".into()), NOW.plus(9), NOW.plus(1)), Ok(()));
        let entries = quarantine.entries.load();
        assert_eq!((entries.keys.len(), entries.certificates.len(), entries.clients.len()), (0, 0, 1));
    }
}
