#![no_main]

use relayfreellm::provider::fuzz::classifier;

libfuzzer_sys::fuzz_target!(|data: &[u8]| classifier(data));
