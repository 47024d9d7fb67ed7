#![no_main]

use relayfreellm::provider::fuzz::anthropic_stream;

libfuzzer_sys::fuzz_target!(|data: &[u8]| anthropic_stream(data));
