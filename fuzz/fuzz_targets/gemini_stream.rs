#![no_main]

use relayfreellm::provider::fuzz::gemini_stream;

libfuzzer_sys::fuzz_target!(|data: &[u8]| gemini_stream(data));
