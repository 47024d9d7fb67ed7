//! What is no text in a conversation: images, sounds, files.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::{Message, Part};

/// The images a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Images {
    /// How many there are.
    pub count: u32,
    /// Must one of them be fetched from where it is?
    pub remote: bool,
    /// Bytes of the largest `data:` URL.
    pub largest: u64,
    /// Bytes of all `data:` URLs together.
    pub inline: u64,
}

/// What is no text in a message, or in a whole conversation: images by the detail they are to be seen
/// in, and what is to be heard or read from a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// Images with `"detail": "low"`.
    pub low: u64,
    /// All other images.
    pub full: u64,
    /// Sounds.
    pub sounds: u64,
    /// Files.
    pub files: u64,
    /// Bytes of JSON text that sounds and files take.
    pub attached: u64,
    /// Bytes of JSON text that all of it takes, images included.
    pub bytes: u64,
}

impl Media {
    /// Is there none?
    pub fn is_none(&self) -> bool {
        self.bytes == 0
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            low: self.low.saturating_add(other.low),
            full: self.full.saturating_add(other.full),
            sounds: self.sounds.saturating_add(other.sounds),
            files: self.files.saturating_add(other.files),
            attached: self.attached.saturating_add(other.attached),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn add(&mut self, part: &Part<'_>) {
        let length = |it: Option<&RawValue>| it.map_or(0, |it| it.get().len() as u64);
        let bytes = match &*part.kind {
            "image_url" => {
                let low = part.image_url.is_some_and(|it| says_low(it.get()));
                *(if low { &mut self.low } else { &mut self.full }) += 1;
                length(part.image_url)
            }
            "input_audio" => {
                self.sounds += 1;
                self.attached += length(part.input_audio);
                length(part.input_audio)
            }
            "file" => {
                self.files += 1;
                self.attached += length(part.file);
                length(part.file)
            }
            _ => 0,
        };
        self.bytes += bytes;
    }
}

/// What is no text in the messages of a request with this body. The search is cheap; the parts are read
/// only where one of them may be something else.
pub(super) fn media_of(body: &[u8], messages: &[Message<'_>]) -> (Media, Images) {
    let has = |it: &[u8]| memchr::memmem::find(body, it).is_some();
    let shows = has(b"\"image_url\"");
    if !shows && !has(b"\"input_audio\"") && !has(b"\"file\"") {
        return Default::default();
    }
    let media = messages.iter().map(Message::media).fold(Media::default(), Media::and);
    (media, if shows { images_of(messages) } else { Images::default() })
}

impl Message<'_> {
    /// What in it is no text.
    pub fn media(&self) -> Media {
        let mut media = Media::default();
        self.parts().iter().for_each(|it| media.add(it));
        media
    }
}

fn images_of(messages: &[Message<'_>]) -> Images {
    let mut images = Images::default();
    for url in messages.iter().flat_map(Message::image_urls) {
        images.count = images.count.saturating_add(1);
        if url.get(..5).is_some_and(|it| it.eq_ignore_ascii_case("data:")) {
            let bytes = url.len() as u64;
            images.largest = images.largest.max(bytes);
            images.inline = images.inline.saturating_add(bytes);
        } else {
            images.remote = true;
        }
    }
    images
}

/// Is this the `image_url` of an image to be seen in low detail?
fn says_low(image: &str) -> bool {
    #[derive(Deserialize)]
    struct Url<'a> {
        #[serde(borrow, default)]
        detail: Option<Cow<'a, str>>,
    }
    serde_json::from_str::<Url<'_>>(image).is_ok_and(|it| it.detail.as_deref() == Some("low"))
}
