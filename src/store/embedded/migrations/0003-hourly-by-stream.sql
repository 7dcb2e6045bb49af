-- Series of one stream, or of a branch of streams: by the primary key every stream's hours would be read.
CREATE INDEX hourly_by_stream ON hourly (stream, hour);
