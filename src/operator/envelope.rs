//! Reads an AdmissionReview and the pod in it in one pass: with serde alone the pod is passed over first, to find its end, and
//! read later. Knows only the usual; whatever is not usual is left to the one who reads slowly and says what is wrong.

use crate::review::{Request, Review};
use ashore_inject::Pod;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The review, if there is nothing unusual in it.
pub(crate) fn read(text: &str) -> Option<Review<'_>> {
    let mut cursor = Cursor { rest: text };
    let mut review = Review::default();
    cursor.members(|cursor, key| {
        match key {
            "apiVersion" => review.api_version = cursor.value::<&str>()?.into(),
            "kind" => review.kind = cursor.value::<&str>()?.into(),
            "request" if review.request.is_none() => review.request = Some(request(cursor)?),
            "request" => return None,
            _ => drop(cursor.value::<IgnoredAny>()?),
        }
        Some(())
    })?;
    cursor.peek().is_none().then_some(review)
}

fn request<'a>(cursor: &mut Cursor<'a>) -> Option<Request<'a>> {
    let mut request = Request::default();
    cursor.members(|cursor, key| {
        match key {
            "uid" => request.uid = cursor.value::<&str>()?.into(),
            "kind" => request.kind = cursor.value()?,
            "subResource" => request.sub_resource = cursor.value::<&str>()?.into(),
            "name" => request.name = cursor.value::<&str>()?.into(),
            "namespace" => request.namespace = cursor.value::<&str>()?.into(),
            "operation" => request.operation = cursor.value::<&str>()?.into(),
            "dryRun" => request.dry_run = cursor.value()?,
            "object" if request.object.is_some() => return None,
            "object" if cursor.peek()? == b'{' => {
                let (pod, length) = Pod::read_first(cursor.rest)?;
                request.object = cursor.rest.get(..length);
                request.pod = Some(pod);
                cursor.rest = cursor.rest.get(length..)?;
            }
            _ => drop(cursor.value::<IgnoredAny>()?),
        }
        Some(())
    })?;
    Some(request)
}

/// What is still to be read.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// Reads an object, the value of each of its members by `member`.
    fn members(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        loop {
            // Without escapes; no key that matters has one.
            let key = self.value()?;
            self.expect(b':')?;
            member(self, key)?;
            match self.peek()? {
                b',' => self.expect(b',')?,
                _ => return self.expect(b'}'),
            }
        }
    }

    fn value<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter();
        let value = values.next()?.ok()?;
        self.rest = self.rest.get(values.byte_offset()..)?;
        Some(value)
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest.bytes().next()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.rest = &self.rest[1..])
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn the_usual_is_read_and_nothing_else() {
        let object = r#"{ "spec": {}, "x": [1.50] }"#;
        let text =
            format!(r#" {{"kind":"AdmissionReview", "request" : {{"uid":"1","object": {object} ,"dryRun":null,"name":"é"}}, "x":[]}} "#);
        let request = read(&text).unwrap().request.unwrap();
        assert_eq!((&*request.uid, &*request.name, request.object), ("1", "é", Some(object)));
        assert!(request.pod.is_some());
        for (unusual, why) in [
            ("", "nothing"),
            ("[]", "no object"),
            ("{}", "no member"),
            (r#"{"kind":"AdmissionReview"} {}"#, "more than one"),
            (r#"{"kind":"Admission\u0052eview"}"#, "an escape"),
            (r#"{"kind":"AdmissionReview",}"#, "no member after the comma"),
            (r#"{"kind":null}"#, "no string"),
            (r#"{"request":{"object":{"spec":{},"spec":{}}}}"#, "a field that is there twice"),
            (r#"{"request":{"object":{"spec":{}},"object":{"spec":{}}}}"#, "two objects"),
            (r#"{"request":{"object":{}}}"#, "an object that is no pod"),
            (r#"{"request":{"object":{"spec":{}}}"#, "no end"),
        ] {
            assert!(read(unusual).is_none(), "{why}");
        }
    }
}
