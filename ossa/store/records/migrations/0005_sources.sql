-- How a request came: what the bus says of the Execution that it leads to, whoever carries it out.
ALTER TABLE requests ADD COLUMN source text NOT NULL DEFAULT 'api' CHECK (source IN ('api', 'websocket'));
