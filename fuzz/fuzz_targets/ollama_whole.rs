#![no_main]

use relayfreellm::provider::fuzz::ollama_whole;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ollama_whole(data));
