//! What is asked of a server at a time, and what its replies mean: a few claims, and behind them what proves that they count.
//!
//! One claim is `SET key 1 NX PX time`. Behind the claims of a batch comes `GET` of the marker: if that is the value this connection was vetted with, the memory was whole
//! while the claims were made, since a server does one thing after the other. Then `WAIT`, where copies are asked for. It all goes out at once, so a claim takes one round trip, and at
//! load the proof is shared by many. Only when all of it is right do the claims of a batch count.
//!
//! What limits count goes with them, as `SET key 0 NX PX time` and `INCR key`. A count that the server refuses is unknown, and nothing else: it is no reason to refuse proofs.
//!
//! A batch without claims is a look at the server: `INFO`, `TIME` and a write, by which it is judged as it was when it was vetted. Without the write, a connection
//! that has nothing to do would seem to work while the server is full.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Kind;
use super::bounds::Bounds;
use super::clocks::{self, Asked};
use super::memory::Names;
use super::resp::{self, Reply, write_length, write_number};
use super::trouble::Trouble;
use super::vet::{self, Vetted};
use crate::clock::Clock;
use crate::config;
use crate::verify::digest::{Digest, ProofId};

/// How much of a claim's digest is its key: as hard to meet by chance as a UUID, and two such cannot be made by anyone.
const KEY: usize = 16;

/// The key of a proof, without the prefix. Nothing of a caller can be read from it: it is part of a hash.
pub(super) fn key(proof: &Digest<ProofId>) -> [u8; KEY] {
    *proof.as_bytes().first_chunk().expect("32 bytes have a first 16")
}

/// A claim on its way to a server. Dropped, it is answered as unavailable.
#[derive(Debug)]
pub(super) struct Claim {
    /// The key, without the prefix.
    pub(super) key: [u8; KEY],
    /// How long it is kept, in milliseconds; see [`retention`].
    pub(super) keep: u64,
    /// What is wanted of the key.
    pub(super) wish: Wish,
    /// Whether a node of a cluster has sent it to another for this once: then the other has to be told (`ASKING`).
    pub(super) asking: bool,
    /// Since when it waits.
    pub(super) since: Instant,
    /// Where the answer goes.
    pub(super) answer: oneshot::Sender<Answer>,
}

/// What is wanted of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To take it, once.
    Take,
    /// To count one more, beside those that other replicas count. It ends `keep` after the first.
    Count,
}

/// What came of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was taken, and counts.
    Taken,
    /// The proof was used before.
    Replayed,
    /// So many were counted, this one included.
    Counted(u64),
    /// This server has not done it, and says who would.
    Elsewhere(Redirect),
}

/// Where a node of a cluster sends a claim that it has not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    /// The slot is another node's (`MOVED slot host:port`; no host means the same one).
    Moved(String),
    /// The slot is on its way to another node, which has this key, for this once (`ASK slot host:port`).
    Ask(String),
    /// The slot is on its way, and the key is nowhere just now (`TRYAGAIN`).
    TryAgain,
}

impl Redirect {
    /// Reads an error reply; `None` when it sends nobody anywhere.
    fn read(words: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(words).ok()?.split(' ');
        match (parts.next()?, parts.next(), parts.next()) {
            ("MOVED", Some(_), Some(to)) => Some(Redirect::Moved(to.to_owned())),
            ("ASK", Some(_), Some(to)) => Some(Redirect::Ask(to.to_owned())),
            ("TRYAGAIN", ..) => Some(Redirect::TryAgain),
            _ => None,
        }
    }
}

/// The longest time that a claim is kept, in milliseconds: what Redis takes, by far, since it adds it to its clock in 63 bits.
const LONGEST: u64 = 1 << 53;

/// For how long a server keeps a claim whose proof could pass for `keep` from now on, in milliseconds.
///
/// A second more, since the last second is passed whole. Twice `clock_difference`: our clock may be that far ahead of the server's, by which `keep` is too short, and another
/// replica's as far behind it, by which the proof passes for longer there. And as much as the server's clock may be [set back](clocks::unnoticed) without being noticed: by so much it was ahead, and the claim
/// ended too early. Once: a clock that is set back many times by less than is noticed is not borne.
pub(super) fn retention(keep: Duration, settings: &config::Redis) -> u64 {
    let clocks = settings.clock_difference.saturating_mul(2).saturating_add(clocks::unnoticed(settings));
    let keep = keep.saturating_add(clocks).saturating_add(Duration::from_secs(1));
    u64::try_from(keep.as_millis()).unwrap_or(u64::MAX).min(LONGEST)
}

/// The bytes that are the same in every batch of a connection.
#[derive(Debug)]
pub(super) struct Phrases {
    /// A claim up to its key.
    set: Vec<u8>,
    /// From its key to the length of its time.
    one_nx_px: Vec<u8>,
    /// The same for what is counted, which begins at nothing.
    zero_nx_px: Vec<u8>,
    /// What counts one more, up to its key.
    incr: Vec<u8>,
    /// What proves a batch of claims.
    proof: Vec<u8>,
    /// A look at the server, and its proof.
    look: Vec<u8>,
    /// For how much longer than this gateway needs it a claim is kept, in milliseconds.
    beyond: u64,
}

impl Phrases {
    /// Those of a connection with these settings, to a server with this memory.
    pub(super) fn new(judge: &Judge<'_>, names: &Names) -> Self {
        let Judge { settings, vetted, .. } = judge;
        let prefix = settings.prefix.as_bytes();
        let mut set = b"*6\r\n$3\r\nSET\r\n".to_vec();
        write_length(&mut set, b'$', prefix.len() + KEY);
        set.extend_from_slice(prefix);
        let mut proof = Vec::new();
        resp::write(&mut proof, &[b"GET", &vetted.memory.key]);
        if settings.replicas > 0 {
            let patience = vet::patience_of_wait(settings.timeout).to_string();
            resp::write(
                &mut proof,
                &[b"WAIT", settings.replicas.to_string().as_bytes(), patience.as_bytes()],
            );
        }
        let mut look = Vec::new();
        resp::write(&mut look, &[b"INFO"]);
        resp::write(&mut look, &[b"TIME"]);
        resp::write(&mut look, &names.probing());
        look.extend_from_slice(&proof);
        let beyond = u64::try_from(vetted.memory.bounds.beyond(judge.bounds).as_millis()).unwrap_or(u64::MAX);
        let mut incr = b"*2\r\n$4\r\nINCR\r\n".to_vec();
        write_length(&mut incr, b'$', prefix.len() + KEY);
        incr.extend_from_slice(prefix);
        Self {
            set,
            one_nx_px: b"\r\n$1\r\n1\r\n$2\r\nNX\r\n$2\r\nPX\r\n".to_vec(),
            zero_nx_px: b"\r\n$1\r\n0\r\n$2\r\nNX\r\n$2\r\nPX\r\n".to_vec(),
            incr,
            proof,
            look,
            beyond,
        }
    }

    fn write_claim(&self, output: &mut Vec<u8>, claim: &Claim) {
        if claim.asking {
            output.extend_from_slice(b"*1\r\n$6\r\nASKING\r\n");
        }
        output.extend_from_slice(&self.set);
        output.extend_from_slice(&claim.key);
        let (value_nx_px, beyond) = match claim.wish {
            Wish::Take => (&self.one_nx_px, self.beyond),
            Wish::Count => (&self.zero_nx_px, 0),
        };
        output.extend_from_slice(value_nx_px);
        let keep = claim.keep.saturating_add(beyond).min(LONGEST);
        let digits = keep.checked_ilog10().unwrap_or(0) as usize + 1;
        write_length(output, b'$', digits);
        write_number(output, keep);
        output.extend_from_slice(b"\r\n");
        if claim.wish == Wish::Count {
            output.extend_from_slice(&self.incr);
            output.extend_from_slice(&claim.key);
            output.extend_from_slice(b"\r\n");
        }
    }
}

/// What the replies of a connection are judged by.
pub(super) struct Judge<'s> {
    /// What the operator wants.
    pub(super) settings: &'s config::Redis,
    /// What this gateway counts on.
    pub(super) bounds: Bounds,
    /// What kind of server it is.
    pub(super) kind: Kind,
    /// What it has shown.
    pub(super) vetted: Vetted,
    /// Ours.
    pub(super) clock: &'s Clock,
}

impl Judge<'_> {
    /// Where a node of a cluster sends what it has answered so; `None` where it sends it nowhere, and from a server that is alone.
    fn redirect(&self, reply: &Reply<'_>) -> Option<Redirect> {
        match (self.kind, reply) {
            (Kind::Node, Reply::Error(words)) => Redirect::read(words),
            (Kind::Node | Kind::Alone, _) => None,
        }
    }
}

/// Which reply comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// `OK` to `ASKING`, before the claim of this number.
    Asking(usize),
    /// `SET` before the count of this number.
    Opening(usize),
    /// The claim of this number.
    Claim(usize),
    /// The count of this number.
    Count(usize),
    Info(Asked),
    /// The server's time, in a look that went out then.
    Time(Asked),
    Probe,
    Marker,
    Copies,
    /// None: everything was right.
    Done,
}

/// Some claims that went out together, or a look at the server.
#[derive(Debug)]
pub(super) struct Batch {
    /// When it went out.
    pub(super) sent: Instant,
    /// Where the answers go, and what they are if the batch counts. A look has none.
    claims: Vec<(Claim, Option<Answer>)>,
    /// Why a count was not made, where one was not.
    uncounted: Option<Trouble>,
    next: Next,
}

impl Batch {
    /// Takes `claims`, of which there is at least one, and writes them to `output`.
    pub(super) fn of_claims(
        claims: &mut Vec<Claim>,
        sent: Instant,
        phrases: &Phrases,
        output: &mut Vec<u8>,
    ) -> Self {
        for claim in claims.iter() {
            phrases.write_claim(output, claim);
        }
        output.extend_from_slice(&phrases.proof);
        let claims: Vec<_> = claims.drain(..).map(|claim| (claim, None)).collect();
        let next = Self::first(&claims, 0);
        Self { sent, claims, uncounted: None, next }
    }

    /// A look at the server.
    pub(super) fn look(sent: Instant, clock: &Clock, phrases: &Phrases, output: &mut Vec<u8>) -> Self {
        output.extend_from_slice(&phrases.look);
        Self { sent, claims: Vec::new(), uncounted: None, next: Next::Info(Asked::now(clock)) }
    }

    /// Whether it is nothing but a look.
    pub(super) fn is_look(&self) -> bool {
        self.claims.is_empty()
    }

    /// The first reply to the claim of this number, or what comes behind the last claim.
    fn first(claims: &[(Claim, Option<Answer>)], number: usize) -> Next {
        match claims.get(number) {
            Some((Claim { asking: true, .. }, _)) => Next::Asking(number),
            Some((claim, _)) => Self::asked(claim, number),
            None => Next::Marker,
        }
    }

    /// The first reply to it, or to what follows `ASKING`.
    fn asked(claim: &Claim, number: usize) -> Next {
        match claim.wish {
            Wish::Take => Next::Claim(number),
            Wish::Count => Next::Opening(number),
        }
    }

    /// Takes the next reply. `true`: it was the last one, and everything is right.
    ///
    /// # Errors
    /// What is wrong with the server. Then nothing of the batch counts.
    pub(super) fn take(&mut self, reply: &Reply<'_>, judge: &mut Judge<'_>) -> Result<bool, Trouble> {
        self.next = match self.next {
            Next::Asking(number) => match reply {
                Reply::Simple(b"OK") => Self::asked(&self.claims[number].0, number),
                reply => return Err(unexpected(reply)),
            },
            // Whether it is the first that is counted. Where that is elsewhere, the count says so once more. Any other error is everybody's: it is the command of all claims.
            Next::Opening(number) => match reply {
                Reply::Simple(b"OK") | Reply::Nil => Next::Count(number),
                reply if judge.redirect(reply).is_some() => Next::Count(number),
                reply => return Err(unexpected(reply)),
            },
            Next::Claim(number) => {
                let answer = match reply {
                    Reply::Simple(b"OK") => Answer::Taken,
                    Reply::Nil => Answer::Replayed,
                    reply => Answer::Elsewhere(judge.redirect(reply).ok_or_else(|| unexpected(reply))?),
                };
                self.claims[number].1 = Some(answer);
                Self::first(&self.claims, number + 1)
            }
            Next::Count(number) => {
                self.claims[number].1 = match (reply, judge.redirect(reply)) {
                    (Reply::Integer(count), _) => u64::try_from(*count).ok().map(Answer::Counted),
                    (_, Some(redirect)) => Some(Answer::Elsewhere(redirect)),
                    (reply, None) => {
                        let trouble = unexpected(reply);
                        if !trouble.is_of_one_command() {
                            return Err(trouble);
                        }
                        // A right that only counts need, or a key that holds something else: proofs are claimed all the same, and this count is unknown.
                        self.uncounted = Some(trouble);
                        None
                    }
                };
                Self::first(&self.claims, number + 1)
            }
            Next::Info(asked) => match reply {
                Reply::Bulk(info) if vet::judge_info(info, judge.kind)? == judge.vetted.memory.identity => {
                    Next::Time(asked)
                }
                Reply::Bulk(_) => return Err(Trouble::MemoryLost),
                reply => return Err(unexpected(reply)),
            },
            Next::Time(asked) => {
                let Judge { vetted, settings, clock, .. } = judge;
                vetted.ahead = vetted.pace.judge_again(asked, reply, settings, clock)?;
                Next::Probe
            }
            Next::Probe => match reply {
                Reply::Simple(b"OK") => Next::Marker,
                reply => return Err(unexpected(reply)),
            },
            Next::Marker => {
                match reply {
                    Reply::Bulk(value) if *value == judge.vetted.memory.value => {
                        if judge.settings.replicas > 0 { Next::Copies } else { Next::Done }
                    }
                    Reply::Bulk(_) | Reply::Nil => return Err(Trouble::MemoryLost),
                    reply => return Err(unexpected(reply)),
                }
            }
            Next::Copies => {
                vet::judge_copies(reply, judge.settings.replicas)?;
                Next::Done
            }
            Next::Done => return Err(Trouble::NotRedis),
        };
        Ok(self.next == Next::Done)
    }

    /// Answers the claims of a batch in which everything was right. Gives why a count among them was not made, where one was not.
    pub(super) fn answer(self) -> Option<Trouble> {
        for (claim, answer) in self.claims {
            if let Some(answer) = answer {
                // A caller that has gone is nobody's trouble: its proof is spent.
                let _ = claim.answer.send(answer);
            }
        }
        self.uncounted
    }
}

fn unexpected(reply: &Reply<'_>) -> Trouble {
    match reply {
        // Of what is beside the claims: its slot has gone to another node, so this one needs other keys.
        Reply::Error(words) if Redirect::read(words).is_some() => Trouble::NoSlot,
        Reply::Error(words) => Trouble::of_error(words),
        _ => Trouble::NotRedis,
    }
}
