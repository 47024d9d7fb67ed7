#![no_main]

use relayfreellm::provider::fuzz::anthropic_whole;

libfuzzer_sys::fuzz_target!(|data: &[u8]| anthropic_whole(data));
