// Runs a collection with Newman and prints the status of each response as a JSON array.
//
//   newman.js COLLECTION WORKING_DIRECTORY
//
// A request that fails ends it with exit code 1. It ends as soon as the run does: Newman's own command line waits for
// servers and proxies to close the connections it keeps open.

'use strict';

const newman = require('newman');

const [collection, workingDir] = process.argv.slice(2);
newman.run({ collection, workingDir, reporters: [] }, (error, summary) => {
  const failures = summary ? summary.run.failures : [];
  if (error || failures.length > 0) {
    console.error(error || JSON.stringify(failures.map((failure) => failure.error), null, 1));
    process.exit(1);
  }
  const statuses = summary.run.executions.map((execution) => execution.response && execution.response.code);
  process.stdout.write(JSON.stringify(statuses), () => process.exit(0));
});
