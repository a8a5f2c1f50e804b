console.log("Hello from JavaScript.");
for (const n of [1, 2, 3, 4, 5]) console.log(`${n} squared is ${n * n}`);
console.error("This line went to standard error.");
