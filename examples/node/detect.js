// Ask the gateway for a verdict over gRPC from Node, with detector.proto alone.
//
// Run: npm install, then: node detect.js interview.mp4 127.0.0.1:8081 ../../gateway/grpc_service/detector.proto
// (API_KEY=… in the environment where the gateway asks for a key). The last line is the verdict as JSON.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import { Readable } from "node:stream";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const CHUNK_BYTES = 256 * 1024;
const [video, address = "127.0.0.1:8081", proto = "../../gateway/grpc_service/detector.proto"] =
  process.argv.slice(2);

// With defaults, a number that is 0 is there; an optional field that is absent stays so.
const definition = protoLoader.loadSync(proto, { keepCase: true, enums: String, longs: Number, defaults: true });
const { Detector } = grpc.loadPackageDefinition(definition).deepfake.v1;

/** The options, then the file in chunks, as it is. */
async function* requestsOf(path) {
  const { size } = await stat(path);
  yield { options: { file_name: basename(path), size_bytes: size, windows: 2 } };
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES })) {
    yield { chunk };
  }
}

const detector = new Detector(address, grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
if (process.env.API_KEY) metadata.set("authorization", `Bearer ${process.env.API_KEY}`);

const call = detector.Detect(metadata, { deadline: Date.now() + 600_000 });
Readable.from(requestsOf(video)).pipe(call); // no more chunks in memory than the connection takes
try {
  for await (const event of call) {
    if (event.window) {
      const { start_seconds: start, end_seconds: end, fake_probability: fake } = event.window;
      console.log(`${start.toFixed(2)}–${end.toFixed(2)} s  ${fake?.toFixed(3) ?? "no face"}`);
    } else if (event.verdict) {
      console.log(JSON.stringify(event.verdict));
    }
  }
} catch (error) {
  if (!error.metadata) throw error; // not a status of the call
  const [type = error.code] = error.metadata.get("error-type");
  console.error(`${type}: ${error.details}`);
  process.exitCode = 1;
} finally {
  call.cancel(); // without effect on one that has ended
  detector.close();
}
