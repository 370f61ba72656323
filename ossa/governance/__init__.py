"""Pure: policies, what they are asked, their verdicts, exceptions from them, and the evidence that they give."""
