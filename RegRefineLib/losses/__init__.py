"""Image similarities and field regularisers, one idea per file."""
