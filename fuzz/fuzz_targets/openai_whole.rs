#![no_main]

use relayfreellm::provider::fuzz::openai_whole;

libfuzzer_sys::fuzz_target!(|data: &[u8]| openai_whole(data));
