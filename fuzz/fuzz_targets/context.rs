#![no_main]

use relayfreellm::context::fuzz;

libfuzzer_sys::fuzz_target!(|data: &str| fuzz(data));
