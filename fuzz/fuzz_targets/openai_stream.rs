#![no_main]

use relayfreellm::provider::fuzz::openai_stream;

libfuzzer_sys::fuzz_target!(|data: &[u8]| openai_stream(data));
