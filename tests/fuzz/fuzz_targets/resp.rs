//! What a store answers, which may be anything: it is read within its bounds, and what is whole stays so whatever follows it.

#![no_main]

use holdfast::replay::redis::resp::{LONGEST, NoReply, Reply};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match Reply::read(bytes) {
        Ok((reply, length)) => {
            assert!(length > 0 && length <= bytes.len());
            assert_eq!(Reply::read(&bytes[..length]), Ok((reply, length)));
            for cut in [1, length / 2, length - 1] {
                // A part of a reply is never another reply.
                assert_eq!(Reply::read(&bytes[..cut.min(length - 1)]), Err(NoReply::Half), "{cut}");
            }
        }
        Err(NoReply::Half) => assert!(bytes.len() < LONGEST),
        Err(NoReply::Foreign) => {}
    }
});
