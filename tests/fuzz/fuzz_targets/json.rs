//! The strict JSON reader, against any bytes.

#![no_main]

use holdfast::verify::confirmation::Confirmation;
use holdfast::verify::json::Object;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Some(object) = Object::read(text) else { return };
    let names: Vec<&str> = object.members().map(|(name, _)| name).collect();
    let unique: std::collections::HashSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.len(), names.len(), "a name twice");
    let _ = Confirmation::read(&object);
});
