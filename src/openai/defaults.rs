//! Values that say no more than the member's absence.

/// Does a member with this value, as JSON text, ask for what there is without it?
pub fn is_default(member: &str, value: &str) -> bool {
    match member {
        "n" | "temperature" | "top_p" => matches!(value, "1" | "1.0"),
        "frequency_penalty" | "presence_penalty" | "top_logprobs" => matches!(value, "0" | "0.0"),
        "tool_choice" | "function_call" => value == "\"auto\"",
        // Empty the one says: search. And who names the other at all wants to be sure of it.
        "web_search_options" | "parallel_tool_calls" => false,
        _ => matches!(value, "false" | "[]" | "{}" | "\"\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_so_anyway_is_told_from_what_is_wanted() {
        for (member, value, expected) in [
            ("n", "1", true),
            ("n", "2", false),
            ("stream", "false", true),
            ("stream", "true", false),
            ("tool_choice", "\"auto\"", true),
            ("tool_choice", "\"required\"", false),
            ("parallel_tool_calls", "true", false),
            ("web_search_options", "{}", false),
            ("logit_bias", "{}", true),
            ("presence_penalty", "0", true),
            ("seed", "0", false),
        ] {
            assert_eq!(is_default(member, value), expected, "{member} {value}");
        }
    }
}
