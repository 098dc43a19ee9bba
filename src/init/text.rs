//! Text in a buffer of fixed size: what does not fit is left out.

use crate::signal::Signal;

use core::ffi::CStr;

/// Text in a buffer that somebody else keeps.
pub struct Text<'b> {
    bytes: &'b mut [u8],
    length: usize,
}

impl<'b> Text<'b> {
    /// Nothing yet, and as much room as the buffer has.
    pub const fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, length: 0 }
    }

    /// What has been written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// How many more bytes fit.
    pub const fn room(&self) -> usize {
        self.bytes.len() - self.length
    }

    /// Adds bytes, as many as fit.
    pub fn push(&mut self, bytes: &[u8]) -> &mut Self {
        let length = bytes.len().min(self.room());
        self.bytes[self.length..self.length + length].copy_from_slice(&bytes[..length]);
        self.length += length;
        self
    }

    /// Adds a decimal number.
    pub fn push_number(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return self.push(&digits[at..]);
            }
        }
    }

    /// Adds words and a decimal number.
    #[inline(never)]
    pub fn push_field(&mut self, words: &[u8], number: u64) -> &mut Self {
        self.push(words).push_number(number)
    }

    /// Adds microseconds as seconds with three decimals.
    pub fn push_seconds(&mut self, micros: u64) -> &mut Self {
        // A one in front keeps the zeros.
        let mut digits = [0; 4];
        Text::new(&mut digits).push_number(1000 + micros / 1000 % 1000);
        digits[0] = b'.';
        self.push_number(micros / 1_000_000).push(&digits)
    }

    /// Adds a signal's name, without `SIG`.
    pub fn push_signal(&mut self, signal: Signal) -> &mut Self {
        match signal.name() {
            (name, 0) => self.push(name.as_bytes()),
            (name, plus) => self.push(name.as_bytes()).push(b"+").push_number(u64::from(plus)),
        }
    }

    /// Adds a JSON string (RFC 8259). Bytes beyond ASCII become `?`: a process's name need not be UTF-8.
    pub fn push_json(&mut self, text: &[u8]) -> &mut Self {
        self.push(b"\"");
        for byte in text {
            self.push(if matches!(byte, b'"' | b'\\') { b"\\" } else { b"" }).push_name(core::slice::from_ref(byte));
        }
        self.push(b"\"")
    }

    /// Adds a comma, unless a JSON object or array has just begun, or a member's name.
    #[inline(never)]
    pub fn push_comma(&mut self) -> &mut Self {
        let begins = matches!(self.as_bytes().last(), None | Some(b'{' | b'[' | b':'));
        self.push(if begins { b"" } else { b"," })
    }

    /// Adds the name of a member of a JSON object, for its value to follow.
    #[inline(never)]
    pub fn push_key(&mut self, key: &[u8]) -> &mut Self {
        self.push_comma().push_json(key).push(b":")
    }

    /// Adds a member of a JSON object.
    #[inline(never)]
    pub fn push_member(&mut self, key: &[u8], number: u64) -> &mut Self {
        self.push_key(key).push_number(number)
    }

    /// Ends it with a NUL and returns it as a path for a system call; `None` if that does not fit, or there is a NUL in it.
    pub fn into_path(self) -> Option<&'b CStr> {
        let Self { bytes, length } = self;
        *bytes.get_mut(length)? = 0;
        CStr::from_bytes_until_nul(bytes).ok().filter(|path| path.count_bytes() == length)
    }

    /// Adds a text for people to read, with control characters made harmless.
    pub fn push_plain(&mut self, text: &[u8]) -> &mut Self {
        for byte in text {
            self.push(if byte.is_ascii_control() { b"?" } else { core::slice::from_ref(byte) });
        }
        self
    }

    /// Adds a process's name. What is not printable ASCII becomes `?`: a termination message has to be UTF-8, which a name need
    /// not be, if only since it is cut off within a character.
    pub fn push_name(&mut self, name: &[u8]) -> &mut Self {
        for byte in name {
            self.push(if matches!(byte, b' '..=b'~') { core::slice::from_ref(byte) } else { b"?" });
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_seconds_and_signals() {
        let mut buffer = [0; 64];
        let mut text = Text::new(&mut buffer);
        text.push_number(0).push(b" ").push_number(u64::MAX).push(b" ").push_seconds(12_034_567).push(b" ");
        text.push_signal(Signal::TERM).push(b" ").push_signal(Signal::parse(b"RTMIN+3").expect("a signal"));
        assert_eq!(text.as_bytes(), b"0 18446744073709551615 12.034 TERM RTMIN+3");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut buffer = [0; 4];
        let mut text = Text::new(&mut buffer);
        text.push(b"abc").push(b"def");
        assert_eq!((text.as_bytes(), text.room()), (&b"abcd"[..], 0));
    }

    #[test]
    fn a_path_ends_with_a_nul_or_is_none() {
        let mut buffer = [7; 4];
        let mut text = Text::new(&mut buffer);
        text.push(b"abc");
        assert_eq!(text.into_path(), Some(c"abc"));
        let mut text = Text::new(&mut buffer);
        text.push(b"abcd");
        assert_eq!(text.into_path(), None, "no room");
        let mut text = Text::new(&mut buffer);
        text.push(b"a\0b");
        assert_eq!(text.into_path(), None, "a NUL inside");
    }

    #[test]
    fn json_strings_stay_json() {
        let mut buffer = [0; 64];
        let mut text = Text::new(&mut buffer);
        text.push_json(b"a\"b\\c\n\xff");
        assert_eq!(text.as_bytes(), br#""a\"b\\c??""#);
    }
}
