#![no_main]

use relayfreellm::provider::fuzz::ollama_stream;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ollama_stream(data));
