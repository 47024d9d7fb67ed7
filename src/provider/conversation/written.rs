//! Messages as OpenAI's clients write them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::provider::fault::Fault;

use super::{Media, MediaKind, Part, Place, Signed, not_here};

/// A message. What matters to some dialects alone is read leniently: an odd form of it is no reason
/// to refuse the rest.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) role: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<ToolCall<'a>>>,
    /// A call in OpenAI's older form.
    #[serde(borrow)]
    pub(super) function_call: Option<Function<'a>>,
    pub(super) tool_call_id: Option<String>,
    pub(super) name: Option<String>,
    #[serde(borrow)]
    pub(super) refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) extra_content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct ToolCall<'a> {
    pub(super) id: Option<String>,
    #[serde(borrow)]
    pub(super) function: Option<Function<'a>>,
    #[serde(borrow)]
    pub(super) extra_content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
}

/// The signature, where Google's own OpenAI-compatible endpoint keeps it, with the model this
/// gateway puts beside it.
pub(super) fn signed(extra: Option<&RawValue>) -> Option<Signed> {
    #[derive(Deserialize)]
    struct Extra {
        google: Option<Google>,
    }
    #[derive(Deserialize)]
    struct Google {
        thought_signature: Option<String>,
        model: Option<String>,
    }
    let google = serde_json::from_str::<Extra>(extra?.get()).ok()?.google?;
    let signature = google.thought_signature.filter(|it| !it.is_empty())?;
    Some(Signed { signature, model: google.model })
}

/// What a message says; nothing for what is blank.
///
/// # Errors
/// [`NotHere`](crate::provider::fault::FaultKind::NotHere) for what only OpenAI's own dialect can
/// say.
pub(super) fn parts(content: Option<&RawValue>) -> Result<Vec<Part<'_>>, Fault> {
    let Some(content) = content else { return Ok(Vec::new()) };
    if let Some(text) = string_of(content) {
        return Ok(said(text).into_iter().collect());
    }
    let list: Vec<ContentPart<'_>> = serde_json::from_str(content.get())
        .map_err(|it| not_here(format!("a part of a message has an unknown form: {it}")))?;
    list.into_iter().filter_map(|it| part(it).transpose()).collect()
}

/// Text as a part, unless it is blank: some dialects refuse that.
pub(super) fn said(text: Cow<'_, str>) -> Option<Part<'_>> {
    (!text.trim().is_empty()).then_some(Part::Text(text))
}

/// The string a raw value holds, not copied unless it is written with escapes.
pub(super) fn string_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|it| it.0)
}

/// One part of a message whose content is a list.
#[derive(Deserialize)]
struct ContentPart<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    input_audio: Option<Audio<'a>>,
    #[serde(borrow)]
    file: Option<File<'a>>,
}

#[derive(Deserialize)]
struct ImageUrl<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Audio<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
    format: String,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, default)]
    file_data: Cow<'a, str>,
}

fn part(part: ContentPart<'_>) -> Result<Option<Part<'_>>, Fault> {
    let (kind, at) = match (&*part.kind, part.image_url, part.input_audio, part.file) {
        ("text" | "refusal" | "input_text" | "output_text", ..) => {
            return Ok(part.text.or(part.refusal).and_then(string_of).and_then(said));
        }
        ("image_url", Some(image), ..) => (MediaKind::Image, place(url_of(image), "image")?),
        ("input_audio", _, Some(Audio { data, format }), _) => {
            (MediaKind::Audio, Place::Inline { media_type: format!("audio/{format}"), data })
        }
        ("file", .., Some(file)) => (MediaKind::File, place(file.file_data, "file")?),
        (kind, ..) => return Err(not_here(format!("it takes no part of type {kind:?}"))),
    };
    Ok(Some(Part::Media(Media { kind, at })))
}

/// The URL of an image, which some clients send bare.
fn url_of(image: &RawValue) -> Cow<'_, str> {
    let bare = string_of(image);
    bare.or_else(|| Some(serde_json::from_str::<ImageUrl<'_>>(image.get()).ok()?.url))
        .unwrap_or_default()
}

/// Where a URL says that something is.
fn place<'a>(url: Cow<'a, str>, what: &str) -> Result<Place<'a>, Fault> {
    let begins = |with: &str| url.get(..with.len()).is_some_and(|it| it.eq_ignore_ascii_case(with));
    if begins("https://") {
        return Ok(Place::Remote(url));
    }
    if !begins("data:") {
        return Err(not_here(format!("the {what} must be a base64 data: URL or an https URL")));
    }
    let comma = url.find(',').unwrap_or(url.len());
    let head = url.get(5..comma).unwrap_or_default();
    let Some(kind) = head.strip_suffix(";base64") else {
        return Err(not_here(format!("the {what}'s data: URL must be in base64")));
    };
    // Parameters may stand between the type and the mark.
    let media_type = kind.split(';').next().unwrap_or_default().to_ascii_lowercase();
    if media_type.is_empty() || comma + 1 >= url.len() {
        return Err(not_here(format!(
            "the {what}'s data: URL names no media type or holds nothing"
        )));
    }
    // Data of many megabytes is not copied where the caller's bytes can be used.
    let data = match url {
        Cow::Borrowed(url) => Cow::Borrowed(url.get(comma + 1..).unwrap_or_default()),
        Cow::Owned(url) => Cow::Owned(url.get(comma + 1..).unwrap_or_default().to_owned()),
    };
    Ok(Place::Inline { media_type, data })
}
