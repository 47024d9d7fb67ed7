#![no_main]

use relayfreellm::provider::fuzz::ndjson;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ndjson(data));
