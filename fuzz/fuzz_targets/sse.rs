#![no_main]

use relayfreellm::provider::fuzz::sse;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sse(data));
