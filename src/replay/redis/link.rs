//! One connection to a server, on which one question is asked at a time: what vets it, and what asks sentinels and clusters where to go.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::resp::{self, NoReply, Reply};
use super::trouble::Trouble;

/// What carries bytes to a server: TCP, TLS on it, or a socket of this machine.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection.
pub(super) struct Link {
    stream: Box<dyn Stream>,
    input: BytesMut,
    /// Bytes of the last reply, which its reader may still look at.
    read: usize,
    timeout: Duration,
}

impl Link {
    /// A connection whose server has `timeout` for each reply.
    pub(super) fn new(stream: Box<dyn Stream>, timeout: Duration) -> Self {
        Self { stream, input: BytesMut::with_capacity(4096), read: 0, timeout }
    }

    /// How long a reply may take.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a command and gives its reply, which may be an error.
    ///
    /// # Errors
    /// [`Trouble`]; [`Trouble::NotRedis`] also when more has come than was asked for, which would be taken for the reply to the next question. After an error the connection is of no
    /// use: a reply may still come.
    pub(super) async fn ask(&mut self, command: &[&[u8]]) -> Result<Reply<'_>, Trouble> {
        let mut output = Vec::with_capacity(128);
        resp::write(&mut output, command);
        self.input.advance(self.read);
        self.read = 0;
        let exchange = Self::exchange(&mut self.stream, &mut self.input, &output);
        self.read = tokio::time::timeout(self.timeout, exchange).await.map_err(|_| Trouble::Late)??;
        if self.input.len() > self.read {
            return Err(Trouble::NotRedis);
        }
        // It was read whole a moment ago.
        Reply::read(&self.input).map(|(reply, _)| reply).map_err(|_| Trouble::NotRedis)
    }

    /// The same, with an error reply as a [`Trouble`].
    ///
    /// # Errors
    /// [`Trouble`]
    pub(super) async fn demand(&mut self, command: &[&[u8]]) -> Result<Reply<'_>, Trouble> {
        match self.ask(command).await? {
            Reply::Error(words) => Err(Trouble::of_error(words)),
            reply => Ok(reply),
        }
    }

    /// The number of bytes of the reply, once it is there.
    async fn exchange(
        stream: &mut Box<dyn Stream>,
        input: &mut BytesMut,
        output: &[u8],
    ) -> Result<usize, Trouble> {
        stream.write_all(output).await?;
        stream.flush().await?;
        loop {
            match Reply::read(input) {
                Ok((_, length)) => return Ok(length),
                Err(NoReply::Foreign) => return Err(Trouble::NotRedis),
                Err(NoReply::Half) => {}
            }
            if stream.read_buf(input).await? == 0 {
                return Err(Trouble::Unreachable("it closed the connection".into()));
            }
        }
    }

    /// The stream, for those who ask many questions at a time. Nothing of it was read but the replies that [`ask`](Self::ask) has given.
    pub(super) fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_not_asked_for_ends_the_connection() {
        for (words, answer) in [
            (b"+PONG\r\n".as_slice(), Ok(())),
            (b"+PONG\r\n+PONG\r\n", Err(Trouble::NotRedis)),
            (b"+PONG\r\n+", Err(Trouble::NotRedis)),
        ] {
            let (near, mut far) = tokio::io::duplex(64);
            far.write_all(words).await.expect("room");
            let mut link = Link::new(Box::new(near), Duration::from_secs(1));
            assert_eq!(link.ask(&[b"PING"]).await.map(drop), answer, "{}", words.escape_ascii());
        }
    }
}
