package dev.slmexport.demo.selftest

import dev.slmexport.demo.model.Artifact
import dev.slmexport.demo.model.Bundle
import org.json.JSONArray
import org.json.JSONObject

enum class Outcome { PASS, FAIL, SKIPPED }

class LoadedFile(val path: String, val sha256: String, val expected: String)

/** What the golden vectors said of one artifact on this device. Errors are null where nothing was run. */
class ArtifactVerdict(
    val artifact: Artifact,
    val outcome: Outcome,
    val failures: List<String>,
    val files: List<LoadedFile> = emptyList(),
    val runtime: String = "",
    val cases: Int = 0,
    val agreeing: Int = 0,
    val maxError: Double? = null,
    val allowedError: Double? = null,
    val minCosine: Double? = null,
    val allowedCosine: Double? = null,
    val loadMillis: Double = 0.0,
    val millisPerCase: Double = 0.0,
) {
    fun json(): JSONObject = JSONObject()
        .put("path", artifact.path).put("format", artifact.format).put("scheme", artifact.scheme)
        .put("files", JSONArray(files.map { JSONObject().put("path", it.path).put("sha256", it.sha256).put("expected", it.expected) }))
        .put("runtime", runtime).put("cases", cases)
        .put("max_error", number(maxError)).put("allowed_error", number(allowedError))
        .put("min_cosine", number(minCosine)).put("allowed_cosine", number(allowedCosine))
        .put("answers_agree", agreeing).put("load_ms", loadMillis).put("ms_per_case", millisPerCase)
        .put("verdict", outcome.name.lowercase()).put("failures", JSONArray(failures))
}

/** `tokenizer`: texts that became other token ids than they should; null where the tokenizer was not tried. */
class BundleVerdict(val bundle: Bundle, val manifestSha256: String, val tokenizer: List<String>, val artifacts: List<ArtifactVerdict>) {
    /** How many texts there are; none in a bundle whose golden.json cannot be read. */
    val cases: Int = runCatching { bundle.golden.samples.size }.getOrDefault(0)
    val passed: Boolean get() = tokenizer.isEmpty() && artifacts.none { it.outcome == Outcome.FAIL } &&
        artifacts.any { it.outcome == Outcome.PASS }

    fun json(): JSONObject = JSONObject()
        .put("name", bundle.name).put("target", bundle.target).put("manifest_sha256", manifestSha256)
        .put("verdict", if (passed) "pass" else "fail")
        .put("tokenizer", JSONObject().put("cases", cases).put("failures", JSONArray(tokenizer)))
        .put("artifacts", JSONArray(artifacts.map { it.json() }))
}

class Device(val manufacturer: String, val model: String, val android: String, val sdk: Int, val abi: String)

/** What `slm-export run --executor adb` reads. */
fun report(app: String, device: Device, bundles: List<BundleVerdict>): JSONObject = JSONObject()
    .put("schema", 1).put("app", app)
    .put(
        "device",
        JSONObject().put("manufacturer", device.manufacturer).put("model", device.model)
            .put("android", device.android).put("sdk", device.sdk).put("abi", device.abi),
    )
    .put("bundles", JSONArray(bundles.map { it.json() }))

/** JSON has no word for infinity, which a broken output can be away. */
private fun number(value: Double?): Any = if (value == null || !value.isFinite()) JSONObject.NULL else value
