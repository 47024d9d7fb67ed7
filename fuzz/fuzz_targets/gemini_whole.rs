#![no_main]

use relayfreellm::provider::fuzz::gemini_whole;

libfuzzer_sys::fuzz_target!(|data: &[u8]| gemini_whole(data));
